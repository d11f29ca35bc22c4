/** Moving a hand to another session: its record, then the end of its grants, then both logs. Each step may be repeated. */
import type { JsonObject } from "@manyhands/core";
import { AppError, newId } from "@manyhands/kit";
import type { HandRecord, StoredHand } from "../hands/hand-record.ts";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { flushMemories } from "../mounts/sync-memories.ts";
import { cutUnder } from "./cut.ts";
import { endGrant, sameWorkspace, sessionLogOf, tellEnded } from "./pass-hands.ts";

const MOVES = 8;
/** As many as a session can have under way at once, and some. */
const OWN_OPERATIONS = 64;

/** Where a hand goes. */
export type Target = { readonly sessionId: string; readonly name: string };

/** True when the last thing that happened to it was this very move. */
export function isThere(record: HandRecord, handId: string, { sessionId }: Target): boolean {
  return record.handId === handId && record.sessionId === sessionId && record.moved !== undefined;
}

/** Moves a hand that is held here. */
export async function moveHand(manager: Manager, held: HeldHand, target: Target): Promise<StoredHand> {
  const { handId } = held.hand;
  for (let round = 0; round < MOVES; round++) {
    const found = await manager.store.byId(handId);
    if (found?.record.handId !== handId || found.record.state !== "ready")
      throw AppError.conflict("HAND_LOST", `hand ${handId} is gone`);
    if (isThere(found.record, handId, target)) return found;
    await sameWorkspace(sessionLogOf(manager), found.record.sessionId, target.sessionId);
    const other = (await manager.store.current(target.sessionId, target.name))?.record;
    if (other?.state === "ready" || other?.state === "provisioning")
      throw AppError.conflict("NAME_TAKEN", `session ${target.sessionId} has a living hand ${target.name} already`);
    await flushMemories(manager, held); // what it wrote is its own to keep; the next session has stores of its own
    const operations = await ownOperations(manager, held);
    const move = { ...target, moveId: newId("move"), atMs: manager.clock.nowMs(), operations };
    const moved = await manager.store.move(found, move);
    if (!moved) continue;
    held.stored = moved;
    held.brainEpoch = moved.record.brainEpoch;
    return moved;
  }
  throw AppError.unavailable("HAND_RECORD_BUSY", `the record of hand ${handId} changes too often`);
}

/** The latest that the hand's session began here; those under grants end with their grants. */
async function ownOperations(manager: Manager, { hand, calls }: HeldHand): Promise<readonly string[]> {
  const { all } = await manager.grants.read(hand.handId);
  const granted = new Set(all.grants.flatMap((grant) => grant.operations));
  return [...calls.keys()].filter((id) => !granted.has(id)).slice(-OWN_OPERATIONS);
}

/**
 * The grants of a moved hand were its former session's to give: they end with the move, and what runs under them. Those
 * that its new session gave since stay, when the same move is asked for once more.
 */
export async function endFormerGrants(
  manager: Manager,
  held: HeldHand,
  { sessionId, moved }: HandRecord,
): Promise<void> {
  const { handId } = held.hand;
  const from = moved?.fromSessionId ?? sessionId;
  const { all } = await manager.grants.read(handId);
  const former = all.grants.filter((one) => one.parentId === "" && one.fromSessionId !== sessionId);
  for (const { grantId } of former.filter(({ revokedAtMs }) => revokedAtMs === 0)) {
    const ended = await endGrant(manager, handId, grantId);
    await cutUnder(manager, held, ended);
    await tellEnded(manager, handId, from, ended);
  }
}

/** Tells both logs. The one is then without the hand, as after a release, the other has it, as if it had made it. */
export async function tellMoved(manager: Manager, record: HandRecord, recipe: JsonObject): Promise<void> {
  const log = sessionLogOf(manager);
  const { handId, sessionId, name, driver, notIsolated, generation, moved } = record;
  if (!moved) return;
  await log.record(sessionId, moved.id, {
    id: "",
    type: "hand.provisioned",
    hand_id: handId,
    name,
    driver,
    not_isolated: [...notIsolated],
    recipe,
    generation,
  });
  await log.record(moved.fromSessionId, moved.id, {
    id: "",
    type: "hand.released",
    hand_id: handId,
    reason: "transferred",
  });
}
