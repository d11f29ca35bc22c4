/**
 * Provisioning, adoption and loss: everything that changes who holds a hand. Each change is one compare-and-swap of
 * the hand's record; whoever loses it reads again. The record is written before the engine is touched, so a crash
 * leaves a record that says `provisioning`, and a container whose name the record knows.
 */
import { AppError, newId, toAppError } from "@manyhands/kit";
import type { Driver, Hand } from "../drivers/driver.ts";
import type { HandRecord, Recipe, StoredHand } from "./hand-record.ts";
import type { HeldHand } from "./held-hands.ts";
import { driverOfPlace, type Manager } from "./manager.ts";

const WRITE_ATTEMPTS = 5;

/** What is asked for. */
export type Wanted = {
  readonly sessionId: string;
  readonly name: string;
  readonly recipe: Recipe;
  readonly brainEpoch: number;
};

/** Makes a new hand in place of `before` (lost, released or absent). Undefined when somebody else was faster. */
export async function makeHand(
  manager: Manager,
  wanted: Wanted,
  before: StoredHand | undefined,
): Promise<HeldHand | undefined> {
  const driverName = wanted.recipe.driver || manager.defaultDriver;
  const driver = manager.drivers.get(driverName);
  if (!driver) {
    throw AppError.invalid([
      {
        field: "recipe.driver",
        description: `${driverName} is not available here; there are ${[...manager.drivers.keys()].join(", ")}`,
      },
    ]);
  }
  if (manager.held.size >= manager.limits.capacity) {
    throw AppError.exhausted(
      "HAND_CAPACITY",
      `this manager holds ${manager.limits.capacity} hands, which is its limit (MH_HAND_CAPACITY)`,
      2000,
    );
  }
  return manager.held.whileMaking(() => make(manager, driver, wanted, before));
}

async function make(
  manager: Manager,
  driver: Driver,
  wanted: Wanted,
  before: StoredHand | undefined,
): Promise<HeldHand | undefined> {
  const now = manager.clock.nowMs();
  const record: HandRecord = {
    handId: newId("hand"),
    sessionId: wanted.sessionId,
    name: wanted.name,
    generation: (before?.record.generation ?? 0) + 1,
    driver: driver.name,
    place: driver.place,
    notIsolated: driver.notIsolated,
    recipe: wanted.recipe,
    state: "provisioning",
    managerId: manager.managerId,
    managerAddress: manager.address(),
    attachEpoch: 1,
    brainEpoch: Math.max(wanted.brainEpoch, before?.record.brainEpoch ?? 0),
    createdAtMs: now,
    changedAtMs: now,
    lostReason: "",
  };
  const claimed = await manager.store.write(record, before?.revision ?? 0);
  if (!claimed) return undefined;
  let hand: Hand | undefined;
  try {
    hand = await driver.provision({
      ...record,
      image: record.recipe.image,
      limits: record.recipe,
      env: record.recipe.env,
    });
    await writeFiles(hand, record);
    const ready = await manager.store.write(
      { ...record, state: "ready", changedAtMs: manager.clock.nowMs() },
      claimed.revision,
    );
    if (!ready) throw AppError.conflict("HAND_RELEASED", "the hand was released while it was made");
    return hold(manager, driver, hand, ready, true);
  } catch (error) {
    await driver.destroy(record.handId).catch(() => undefined); // the sweep finds what is left
    const failed: HandRecord = {
      ...record,
      state: "lost",
      lostReason: toAppError(error).message,
      changedAtMs: manager.clock.nowMs(),
    };
    await manager.store.write(failed, claimed.revision).catch(() => undefined);
    throw error;
  }
}

async function writeFiles(hand: Hand, record: HandRecord): Promise<void> {
  for (const [index, file] of record.recipe.files.entries()) {
    const path = file.path.startsWith("/") ? file.path : `/workspace/${file.path}`;
    const content = Buffer.from(file.contentBase64, "base64");
    const started = await hand.start({
      id: `recipe-file-${index}`,
      inputHash: new Uint8Array(32),
      timeoutMs: 30_000,
      action: { kind: "write", path, content, mode: file.mode || 0o644 },
    });
    for await (const part of started.parts) {
      if (part.type === "exit" && part.state.exitCode !== 0) {
        throw AppError.invalid([
          {
            field: `recipe.files[${index}].path`,
            description: `${path} could not be written (errno ${part.state.exitCode})`,
          },
        ]);
      }
    }
  }
}

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

function hold(manager: Manager, driver: Driver, hand: Hand, stored: StoredHand, knowsAll: boolean): HeldHand {
  const held: HeldHand = {
    hand,
    driver,
    stored,
    brainEpoch: stored.record.brainEpoch,
    lastUsedMs: manager.clock.nowMs(),
    running: 0,
    calls: new Map(),
    knowsAll,
  };
  manager.held.add(held);
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
export function markLost(manager: Manager, handId: string, reason: string): Promise<void> {
  return changeState(manager, handId, "lost", reason);
}

/** Ends a hand for good: its record first, so that no manager adopts what is being removed. True when this call did it. */
export async function releaseHand(manager: Manager, found: StoredHand, reason: string): Promise<boolean> {
  const { handId, place, state } = found.record;
  if (state === "released") return false;
  await changeState(manager, handId, "released", reason);
  manager.held.remove(handId);
  await driverOfPlace(manager, place)?.destroy(handId);
  return state !== "lost";
}

async function changeState(
  manager: Manager,
  handId: string,
  state: "lost" | "released",
  reason: string,
): Promise<void> {
  for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt++) {
    const found = await manager.store.byId(handId);
    if (!found || found.record.handId !== handId || found.record.state === "released") return;
    if (state === "lost" && found.record.state === "lost") return;
    const changed: HandRecord = { ...found.record, state, lostReason: reason, changedAtMs: manager.clock.nowMs() };
    if (await manager.store.write(changed, found.revision)) return;
  }
  throw AppError.unavailable("HAND_RECORD_BUSY", `the record of hand ${handId} changes too often`);
}
