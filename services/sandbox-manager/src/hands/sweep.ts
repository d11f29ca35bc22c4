/** The regular look at what is there: adopts, declares lost, pauses, removes orphans and idle hands. Bounded and repeatable. */
import type { FoundHand } from "../drivers/driver.ts";
import { forgetGrants } from "../grants/forget-grants.ts";
import { forgetSilent } from "./announce.ts";
import { findHand } from "./find-hand.ts";
import type { StoredHand } from "./hand-record.ts";
import { keepInTouch, pauseIdle, releaseIdle } from "./idle.ts";
import { driverOfPlace, type Manager } from "./manager.ts";

/** What one sweep did. */
export type Swept = {
  readonly adopted: number;
  readonly orphans: number;
  /** Released: unused for too long, or a guess that nobody came for. */
  readonly idle: number;
  readonly paused: number;
};

/** Runs a sweep each `sweepMs` until the signal aborts, the first one at once: a restarted manager takes its hands back. */
export async function sweepForever(manager: Manager, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const swept = await sweep(manager);
      if (swept.adopted + swept.orphans + swept.idle + swept.paused > 0) manager.logger.info(swept, "swept");
    } catch (error) {
      manager.logger.warn({ err: error }, "a sweep failed; the next one tries again");
    }
    await manager.clock.sleep(manager.limits.sweepMs, signal).catch(() => undefined);
  }
}

/** One sweep. */
export async function sweep(manager: Manager): Promise<Swept> {
  const records = await manager.store.list();
  const adopted = await adoptAbandoned(manager, records);
  const idle = await releaseIdle(manager);
  const paused = await pauseIdle(manager);
  await manager.pool.tend();
  await keepInTouch(manager);
  await forgetSilent(manager);
  await forgetGrants(manager);
  return { adopted, orphans: await removeOrphans(manager), idle, paused };
}

/** Hands of our place whose manager is gone are taken over before anybody asks, so that idle ones are reaped too. */
async function adoptAbandoned(manager: Manager, records: readonly StoredHand[]): Promise<number> {
  let adopted = 0;
  for (const { record } of records) {
    if (record.state !== "ready" || manager.held.get(record.handId)) continue;
    if (!driverOfPlace(manager, record.place)) continue;
    try {
      if ((await findHand(manager, record.handId)).kind === "here") adopted++;
    } catch (error) {
      manager.logger.warn({ err: error, hand: record.handId }, "an abandoned hand could not be adopted");
    }
  }
  return adopted;
}

/**
 * A container is an orphan when no record wants it, it is old enough not to be in the making, and its maker neither
 * keeps it warm nor is another manager that lives and looks after its own.
 */
async function removeOrphans(manager: Manager): Promise<number> {
  let removed = 0;
  const living = new Map<string, Promise<boolean>>();
  for (const driver of manager.drivers.values()) {
    for (const found of await driver.list()) {
      if (manager.clock.nowMs() - found.createdAtMs < manager.limits.orphanMs) continue;
      if (manager.pool.owns(found.handId)) continue;
      const stored = await manager.store.byId(found.handId);
      const wanted =
        stored?.record.handId === found.handId &&
        (stored.record.state === "ready" || stored.record.state === "provisioning");
      if (wanted || (await isKeptByMaker(manager, found, living))) continue;
      await driver.destroy(found.handId);
      manager.logger.info({ hand: found.handId, session: found.sessionId }, "an orphan was removed");
      removed++;
    }
  }
  return removed;
}

async function isKeptByMaker(
  manager: Manager,
  { maker }: FoundHand,
  living: Map<string, Promise<boolean>>,
): Promise<boolean> {
  if (maker === undefined || maker === "" || maker === manager.managerId) return false;
  const known = living.get(maker) ?? isAlive(manager, maker);
  living.set(maker, known);
  return known;
}

async function isAlive(manager: Manager, managerId: string): Promise<boolean> {
  const entry = await manager.registry.find(managerId);
  return entry !== undefined && manager.peers.isAlive(entry.address, managerId);
}
