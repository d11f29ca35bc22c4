import type { Manager } from "./manager.ts";

/** Well below the age at which others stop believing an entry. */
const ANNOUNCE_MS = 3000;

/**
 * Says every few seconds what this manager has room for, and takes that back at the end. Resolves after the first
 * time, with the promise of the end: no hand is made before others can learn who made it.
 */
export async function announceForever(manager: Manager, signal: AbortSignal): Promise<{ ended: Promise<void> }> {
  await manager.registry.announce(manager.entry());
  return { ended: goOn(manager, signal) };
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
