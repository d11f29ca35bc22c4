/**
 * Hands that are nothing but clients of the bus: whoever answers `execute(name, input)` on the subject of its kind. The
 * tools' names and inputs go to it as they are; what it makes of them is its own business.
 */
import { type Bus, requestBusHand } from "@manyhands/bus";
import { AppError } from "@manyhands/kit";
import type { Driver, FoundHand, Hand, HandPlan, OperationSpec } from "../driver.ts";
import { handLost } from "../hand-lost.ts";
import { createLedgerHand } from "../ledger-hand.ts";
import { createLedger, type Ending } from "../virtual/virtual-operations.ts";

const PROVISION_MS = 5000;
const RELEASE_MS = 2000;
const KIND = /^[A-Za-z0-9_-]{1,64}$/;

/** Said to whoever asks what protects them. */
export const BUS_NOT_ISOLATED = [
  "it runs wherever its owner runs it: this platform keeps nothing of it apart from anything",
  "operations that were sent and not answered have an unknown end; nothing of it can be stopped from here",
] as const;

type Held = { readonly hand: Hand; readonly plan: HandPlan; readonly createdAtMs: number; end(): void };

/** `instance` names this manager, whose memory is the hands' only ledger. */
export function createBusDriver(bus: Bus, instance: string, nowMs: () => number): Driver {
  const hands = new Map<string, Held>();
  return {
    name: "bus",
    notIsolated: BUS_NOT_ISOLATED,
    survivesManager: false,
    takesTools: true,
    place: `bus:${instance}`,
    async provision(plan) {
      const kind = plan.image;
      if (!KIND.test(kind))
        throw AppError.invalid([{ field: "recipe.image", description: "must name the kind of a hand on the bus" }]);
      const asked = { type: "provision", hand_id: plan.handId, session_id: plan.sessionId } as const;
      const answer = await requestBusHand(bus, kind, asked, PROVISION_MS);
      if (!answer) throw AppError.unavailable("NO_SUCH_HAND", `nobody on the bus answers as a hand of kind ${kind}`);
      if (answer.isError) throw AppError.unavailable("HAND_UNUSABLE", `the hand ${kind} refused: ${answer.content}`);
      const held = createBusHand(bus, plan, nowMs());
      hands.set(plan.handId, held);
      return held.hand;
    },
    adopt: async (handId) => hands.get(handId)?.hand,
    async destroy(handId) {
      const held = hands.get(handId);
      if (!held) return;
      hands.delete(handId);
      held.end();
      const told = { type: "release", hand_id: handId, session_id: held.plan.sessionId } as const;
      await requestBusHand(bus, held.plan.image, told, RELEASE_MS).catch(() => undefined); // it need not be there any more
    },
    async list() {
      return [...hands.values()].map(
        ({ plan, createdAtMs }): FoundHand => ({
          handId: plan.handId,
          sessionId: plan.sessionId,
          createdAtMs,
          running: true,
        }),
      );
    },
    async close() {
      for (const held of hands.values()) held.end();
      hands.clear();
    },
  };
}

function createBusHand(bus: Bus, plan: HandPlan, createdAtMs: number): Held {
  const { handId, sessionId, image: kind } = plan;
  const lost = new AbortController();
  const ledger = createLedger();

  const perform = async ({ id, action, timeoutMs }: OperationSpec): Promise<Ending> => {
    if (action.kind !== "tool")
      throw AppError.invalid([{ field: "recipe", description: "a hand on the bus has no files" }]);
    const { name, input } = action;
    const asked = { type: "execute", hand_id: handId, session_id: sessionId, operation_id: id, name, input } as const;
    const answer = await requestBusHand(bus, kind, asked, timeoutMs);
    if (answer) return { output: Buffer.from(answer.content), exitCode: answer.isError ? 1 : 0 };
    const gone = handLost(`nobody on the bus answered as the hand ${kind} within ${timeoutMs} ms`);
    lost.abort(gone);
    throw gone;
  };
  const known = createLedgerHand(ledger, lost.signal);
  const hand: Hand = {
    handId,
    lost: lost.signal,
    async start(spec, signal) {
      known.check();
      if (spec.action.kind !== "tool")
        throw AppError.invalid([{ field: "recipe.files", description: "a hand on the bus takes no files" }]);
      return known.enter(spec, () => perform(spec), signal);
    },
    attach: known.attach,
    state: known.state,
    cancel: known.state, // it cannot be stopped; its answer may still come
    look: async () => ({ exitCode: 0, bytes: new Uint8Array() }),
    async detach() {},
  };
  return { hand, plan, createdAtMs, end: () => lost.abort(handLost("the hand was released")) };
}
