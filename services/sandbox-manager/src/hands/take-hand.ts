/**
 * Holding, adoption, loss and release: who has a hand, and that nobody has it any more. Each change is one
 * compare-and-swap of the hand's record; whoever loses it reads again.
 */
import { AppError, toAppError } from "@manyhands/kit";
import type { Driver, Hand } from "../drivers/driver.ts";
import { flushMemories } from "../mounts/sync-memories.ts";
import type { HandRecord, StoredHand } from "./hand-record.ts";
import type { HeldHand } from "./held-hands.ts";
import { driverOfPlace, type Manager } from "./manager.ts";

const WRITE_ATTEMPTS = 5;

/** Takes over a hand whose manager is gone. Undefined when it cannot be had: then it is marked lost. */
export async function adoptHand(manager: Manager, found: StoredHand): Promise<HeldHand | undefined> {
  const { record } = found;
  const driver = driverOfPlace(manager, record.place);
  if (!driver?.survivesManager || record.state !== "ready") {
    await markLost(manager, record.handId, `its manager ${record.managerId} is gone, and with it the hand`);
    return undefined;
  }
  const mine: HandRecord = {
    ...record,
    managerId: manager.managerId,
    managerAddress: manager.address(),
    attachEpoch: record.attachEpoch + 1,
    changedAtMs: manager.clock.nowMs(),
  };
  const claimed = await manager.store.write(mine, found.revision);
  if (!claimed) throw AppError.unavailable("HAND_MOVED", "another manager took the hand at the same moment");
  const hand = await driver.adopt(record.handId, mine.attachEpoch);
  if (!hand) {
    await markLost(manager, record.handId, "its container is gone");
    await driver.destroy(record.handId);
    return undefined;
  }
  manager.logger.info({ hand: record.handId, from: record.managerId }, "a hand was adopted");
  return hold(manager, driver, hand, claimed, false);
}

/** From now on this manager answers for the hand, and tells when it is lost. `knowsAll`: no other manager ever had it. */
export function hold(manager: Manager, driver: Driver, hand: Hand, stored: StoredHand, knowsAll: boolean): HeldHand {
  const held: HeldHand = {
    hand,
    driver,
    stored,
    brainEpoch: stored.record.brainEpoch,
    lastUsedMs: manager.clock.nowMs(),
    running: 0,
    isPaused: false,
    isGeneric: false,
    power: Promise.resolve(),
    calls: new Map(),
    knowsAll,
  };
  manager.held.add(held);
  const { filesSessionId, sessionId: ownSessionId, recipe } = stored.record;
  const sessionId = filesSessionId ?? ownSessionId;
  manager.snapshots?.begin({ hand, sessionId, repositories: recipe.repositories }, knowsAll);
  const onLost = () => {
    const failure = toAppError(hand.lost.reason);
    if (failure.kind === "fenced") {
      manager.held.remove(hand.handId);
      manager.logger.warn({ hand: hand.handId }, "another manager took a hand over");
      return;
    }
    const reason = failure.message;
    manager.held.lose(hand.handId, reason);
    manager.logger.warn({ hand: hand.handId, reason }, "a hand is lost");
    markLost(manager, hand.handId, reason)
      .then(() => driver.destroy(hand.handId))
      .catch((error: unknown) =>
        manager.logger.warn({ err: error, hand: hand.handId }, "a lost hand is left to the sweep"),
      );
  };
  if (hand.lost.aborted) onLost();
  else hand.lost.addEventListener("abort", onLost, { once: true });
  return held;
}

/** Writes `lost` over `ready` or `provisioning`; anything else is already an end. */
export async function markLost(manager: Manager, handId: string, reason: string): Promise<void> {
  await changeState(manager, handId, "lost", reason);
}

/**
 * Ends a hand for good: its record first, so that no manager adopts what is being removed. True when this call did it.
 * `unused` ends it only while it is still a guess; a hand in which nothing ever ran then becomes warm for another session.
 */
export async function releaseHand(manager: Manager, found: StoredHand, reason: string): Promise<boolean> {
  const { handId, place, state } = found.record;
  if (state === "released" || (reason === "unused" && !isGuess(found.record))) return false;
  if (!(await changeState(manager, handId, "released", reason))) return false;
  const held = manager.held.get(handId);
  // What its last operation put out is the user's: the look at it comes first.
  if (held && reason !== "unused") {
    await manager.snapshots?.settled(handId);
    await flushMemories(manager, held);
  }
  manager.held.remove(handId);
  if (reason === "unused" && held && wasUntouched(held) && keepWarm(manager, held)) return true;
  await driverOfPlace(manager, place)?.destroy(handId);
  return state !== "lost";
}

/** True while a hand was only asked for on a guess. */
export function isGuess(record: HandRecord): boolean {
  return (record.speculativeUntilMs ?? 0) > 0;
}

function wasUntouched({ calls, running, knowsAll, isGeneric }: HeldHand): boolean {
  return calls.size === 0 && running === 0 && knowsAll && isGeneric;
}

function keepWarm(manager: Manager, { hand, driver, stored }: HeldHand): boolean {
  const { recipe, createdAtMs } = stored.record;
  return manager.pool.put(recipe, { hand, driver, madeAtMs: createdAtMs });
}

/** True when this call changed it. */
async function changeState(
  manager: Manager,
  handId: string,
  state: "lost" | "released",
  reason: string,
): Promise<boolean> {
  for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt++) {
    const found = await manager.store.byId(handId);
    if (!found || found.record.handId !== handId || found.record.state === "released") return false;
    if (state === "lost" && found.record.state === "lost") return false;
    if (reason === "unused" && !isGuess(found.record)) return false; // asked for in earnest meanwhile
    const changed: HandRecord = { ...found.record, state, lostReason: reason, changedAtMs: manager.clock.nowMs() };
    if (await manager.store.write(changed, found.revision)) return true;
  }
  throw AppError.unavailable("HAND_RECORD_BUSY", `the record of hand ${handId} changes too often`);
}
