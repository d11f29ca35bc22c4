/** The regular look at what is there: adopts, declares lost, removes orphans and idle hands. Bounded and repeatable. */
import { findHand } from "./find-hand.ts";
import type { StoredHand } from "./hand-record.ts";
import { driverOfPlace, type Manager } from "./manager.ts";
import { releaseHand } from "./take-hand.ts";

/** What one sweep did. */
export type Swept = { readonly adopted: number; readonly orphans: number; readonly idle: number };

/** Runs a sweep each `sweepMs` until the signal aborts, the first one at once: a restarted manager takes its hands back. */
export async function sweepForever(manager: Manager, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const swept = await sweep(manager);
      if (swept.adopted + swept.orphans + swept.idle > 0) manager.logger.info(swept, "swept");
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
  return { adopted, orphans: await removeOrphans(manager), idle: await releaseIdle(manager) };
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

/** A container is an orphan when no record wants it and it is old enough not to be in the making. */
async function removeOrphans(manager: Manager): Promise<number> {
  let removed = 0;
  for (const driver of manager.drivers.values()) {
    for (const found of await driver.list()) {
      if (manager.clock.nowMs() - found.createdAtMs < manager.limits.orphanMs) continue;
      const stored = await manager.store.byId(found.handId);
      const wanted =
        stored?.record.handId === found.handId &&
        (stored.record.state === "ready" || stored.record.state === "provisioning");
      if (wanted) continue;
      await driver.destroy(found.handId);
      manager.logger.info({ hand: found.handId, session: found.sessionId }, "an orphan was removed");
      removed++;
    }
  }
  return removed;
}

async function releaseIdle(manager: Manager): Promise<number> {
  const { idleMs } = manager.limits;
  if (idleMs === 0) return 0;
  let released = 0;
  for (const held of manager.held.all()) {
    if (held.running > 0 || manager.clock.nowMs() - held.lastUsedMs < idleMs) continue;
    const stored = await manager.store.byId(held.hand.handId);
    if (stored?.record.handId === held.hand.handId && (await releaseHand(manager, stored, "idle"))) released++;
  }
  return released;
}
