import type { Manager } from "./manager.ts";

/** Well below the age at which others stop believing an entry. */
const ANNOUNCE_MS = 3000;
const FORGET_MS = 3_600_000;

/**
 * Says every few seconds what this manager has room for, and takes that back at the end. Resolves after the first
 * time, with the promise of the end: no hand is made before others can learn who made it.
 */
export async function announceForever(manager: Manager, signal: AbortSignal): Promise<{ ended: Promise<void> }> {
  await manager.registry.announce(manager.entry());
  return { ended: goOn(manager, signal) };
}

/** Managers that were killed have not withdrawn: their entries go once nobody can believe them any more. */
export async function forgetSilent(manager: Manager): Promise<void> {
  const { registry, clock } = manager;
  for (const { managerId, atMs } of await registry.list()) {
    if (clock.nowMs() - atMs > FORGET_MS && managerId !== manager.managerId) await registry.withdraw(managerId);
  }
}

async function goOn(manager: Manager, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await manager.clock.sleep(ANNOUNCE_MS, signal).catch(() => undefined);
    if (signal.aborted) break;
    await manager.registry.announce(manager.entry()).catch((error: unknown) => {
      manager.logger.debug({ err: error }, "this manager could not be announced; the next time tries again");
    });
  }
  await manager.registry.withdraw(manager.managerId).catch(() => undefined); // an old entry is not believed either
}
