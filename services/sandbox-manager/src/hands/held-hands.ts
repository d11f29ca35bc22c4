import type { Driver, Hand } from "../drivers/driver.ts";
import type { ToolCall } from "../tools/tool.ts";
import type { StoredHand } from "./hand-record.ts";

const MAX_REMEMBERED_CALLS = 10_000;
const MAX_LOST = 1000;

/** A hand this manager holds. */
export type HeldHand = {
  readonly hand: Hand;
  readonly driver: Driver;
  /** Its record as last written by us. */
  stored: StoredHand;
  /** The highest brain's epoch seen. */
  brainEpoch: number;
  lastUsedMs: number;
  running: number;
  isPaused: boolean;
  /** Nothing in it is of its session alone: as long as nothing ran in it, it could be any session's of this recipe. */
  isGeneric: boolean;
  /** Pausing and waking, one after the other. */
  power: Promise<void>;
  /** Calls started or found here, by operation id. */
  readonly calls: Map<string, ToolCall>;
  /** True when no other manager ever held it: `calls` then names every operation it was ever given. */
  readonly knowsAll: boolean;
};

/** What is remembered of a lost hand. */
export type LostHand = { readonly reason: string; readonly calls: ReadonlySet<string>; readonly knowsAll: boolean };

/** The hands of this manager, in memory. */
export type HeldHands = ReturnType<typeof createHeldHands>;

/** Bounded memory of held and lately lost hands. */
export function createHeldHands() {
  const held = new Map<string, HeldHand>();
  const lost = new Map<string, LostHand>();
  let making = 0;
  return {
    get: (handId: string) => held.get(handId),
    all: () => [...held.values()],
    /** Held and being made: what counts against the capacity. */
    get size() {
      return held.size + making;
    },
    /** Counts a hand while it is made. */
    async whileMaking<T>(work: () => Promise<T>): Promise<T> {
      making++;
      try {
        return await work();
      } finally {
        making--;
      }
    },
    add(hand: HeldHand): void {
      held.set(hand.hand.handId, hand);
    },
    remove(handId: string): void {
      held.delete(handId);
    },
    lose(handId: string, reason: string): void {
      const hand = held.get(handId);
      if (!hand) return;
      held.delete(handId);
      const knowsAll = hand.knowsAll && hand.calls.size < MAX_REMEMBERED_CALLS;
      lost.set(handId, { reason, calls: new Set(hand.calls.keys()), knowsAll });
      const oldest = lost.keys().next();
      if (lost.size > MAX_LOST && !oldest.done) lost.delete(oldest.value);
    },
    lostHand: (handId: string) => lost.get(handId),
    remember(hand: HeldHand, operationId: string, call: ToolCall): void {
      if (hand.calls.size < MAX_REMEMBERED_CALLS) hand.calls.set(operationId, call);
    },
  };
}
