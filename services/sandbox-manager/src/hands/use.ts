/** Using a hand: as long as somebody does, it is neither paused nor given back as idle. */
import type { HeldHand } from "./held-hands.ts";
import type { Manager } from "./manager.ts";

/** Takes a hand into use: it is not idle, and it is awake, before anything is sent to it. Pair with `endUse`. */
export async function beginUse(manager: Manager, held: HeldHand): Promise<void> {
  held.running++;
  if (held.isPaused) {
    held.isPaused = false;
    held.power = held.power.then(() => held.driver.resume?.(held.hand.handId));
  }
  try {
    await held.power;
  } catch (error) {
    // Either it is gone, which its stream tells, or the engine fails: the next call tries again.
    held.power = Promise.resolve();
    held.isPaused = true;
    endUse(manager, held);
    throw error;
  }
}

/** The other end of `beginUse`. */
export function endUse(manager: Manager, held: HeldHand): void {
  held.running--;
  held.lastUsedMs = manager.clock.nowMs();
}
