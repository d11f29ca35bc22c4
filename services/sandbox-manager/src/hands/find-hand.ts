/** Who answers for a hand: this manager, another one, or nobody any more. */
import { AppError, toAppError } from "@manyhands/kit";
import type { StoredHand } from "./hand-record.ts";
import type { HeldHand } from "./held-hands.ts";
import type { Manager } from "./manager.ts";
import { adoptHand, markLost } from "./take-hand.ts";

const LOOKS = 4;

/** Where a hand is. */
export type Whereabouts =
  | { readonly kind: "here"; readonly held: HeldHand }
  | { readonly kind: "elsewhere"; readonly address: string; readonly found: StoredHand }
  | { readonly kind: "gone"; readonly reason: string };

/**
 * Looks in memory first, then in the records. A hand whose manager does not answer is adopted when it lives where we
 * can reach it, else declared lost. Throws NOT_FOUND for an id that never was.
 */
export async function findHand(manager: Manager, handId: string): Promise<Whereabouts> {
  const held = manager.held.get(handId);
  if (held) return { kind: "here", held };
  const lost = manager.held.lostHand(handId);
  if (lost) return { kind: "gone", reason: lost.reason };
  for (let look = 1; ; look += 1) {
    const found = await manager.store.byId(handId);
    if (!found) throw AppError.notFound("hand", handId);
    try {
      return await whereIs(manager, handId, found);
    } catch (error) {
      // Another manager adopts it at this moment: its record now says so.
      if (look === LOOKS || toAppError(error).reason !== "HAND_MOVED") throw error;
    }
  }
}

async function whereIs(manager: Manager, handId: string, found: StoredHand): Promise<Whereabouts> {
  const { record } = found;
  if (record.handId !== handId) return { kind: "gone", reason: `it was replaced by ${record.handId}` };
  if (record.state === "lost") return { kind: "gone", reason: record.lostReason };
  if (record.state === "released")
    return { kind: "gone", reason: `it was released (${record.lostReason || "request"})` };
  const mine = record.managerId === manager.managerId;
  if (!mine && (await manager.peers.isAlive(record.managerAddress, record.managerId))) {
    return { kind: "elsewhere", address: record.managerAddress, found };
  }
  if (record.state === "provisioning") {
    if (mine) throw AppError.unavailable("HAND_PROVISIONING", `hand ${handId} is being made`);
    await markLost(manager, handId, `its manager ${record.managerId} ended while it was made`);
    return { kind: "gone", reason: "its manager ended while it was made" };
  }
  return adopt(manager, handId, found);
}

/** One adoption at a time for each hand: the second caller finds what the first one got. */
const adopting = new WeakMap<Manager, Map<string, Promise<HeldHand | undefined>>>();

/** A second adoption would fence the first one's calls: who asked meanwhile gets what is held now. */
async function adopt(manager: Manager, handId: string, found: StoredHand): Promise<Whereabouts> {
  const already = manager.held.get(handId);
  if (already) return { kind: "here", held: already };
  const running = adopting.get(manager) ?? new Map<string, Promise<HeldHand | undefined>>();
  adopting.set(manager, running);
  const mine = running.get(handId) ?? adoptHand(manager, found).finally(() => running.delete(handId));
  running.set(handId, mine);
  const held = await mine;
  return held ? { kind: "here", held } : { kind: "gone", reason: "its manager is gone, and the hand with it" };
}

/**
 * A brain of an older epoch is refused; a newer one is remembered, durably, before anything runs for it. Whoever asks
 * in earnest, by a provisioning or a call, ends the guess that a hand was made on.
 */
export async function admitBrain(
  manager: Manager,
  held: HeldHand,
  epoch: bigint,
  asks: "earnest" | "guess" = "earnest",
): Promise<void> {
  const asked = Number(epoch);
  if (asked !== 0 && asked < held.brainEpoch) {
    throw AppError.fenced(`epoch ${asked} is over: epoch ${held.brainEpoch} uses this hand`, {
      current_epoch: String(held.brainEpoch),
    });
  }
  const { record, revision } = held.stored;
  const speculativeUntilMs = asks === "earnest" ? 0 : (record.speculativeUntilMs ?? 0);
  const isKnown = asked === 0 || asked === held.brainEpoch;
  if (isKnown && speculativeUntilMs === (record.speculativeUntilMs ?? 0)) return;
  const brainEpoch = Math.max(asked, held.brainEpoch);
  const stored = await manager.store.write({ ...record, brainEpoch, speculativeUntilMs }, revision);
  // Lost the write: the record moved under us. Another call of this manager may have written the same already.
  if (!stored) {
    const now = await manager.store.byId(held.hand.handId);
    if (
      now?.record.handId !== held.hand.handId ||
      now.record.managerId !== manager.managerId ||
      now.record.state !== "ready"
    ) {
      throw AppError.unavailable("HAND_MOVED", "the hand changed its manager or ended; ask again");
    }
    if (now.revision > held.stored.revision) held.stored = now;
    held.brainEpoch = Math.max(held.brainEpoch, now.record.brainEpoch);
    return admitBrain(manager, held, epoch, asks);
  }
  if (stored.revision > held.stored.revision) held.stored = stored;
  held.brainEpoch = Math.max(held.brainEpoch, brainEpoch);
}
