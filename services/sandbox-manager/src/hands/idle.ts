/** What becomes of hands that nobody uses: asked now and then, paused, at last released. */
import { withDeadline } from "@manyhands/kit";
import type { HeldHand } from "./held-hands.ts";
import type { Manager } from "./manager.ts";
import { isGuess, releaseHand } from "./take-hand.ts";

const TOUCH_MS = 5000;
const NO_OPERATION = "manyhands-health";

/** Hands unused for a while stand still until their next call: their processes cost nothing meanwhile. */
export async function pauseIdle(manager: Manager): Promise<number> {
  let paused = 0;
  for (const held of idleFor(manager, manager.limits.pauseMs)) {
    if (held.isPaused || held.running > 0 || !held.driver.pause) continue;
    held.isPaused = true;
    held.power = held.power.then(() => held.driver.pause?.(held.hand.handId));
    try {
      await held.power;
      paused++;
    } catch (error) {
      held.power = Promise.resolve();
      held.isPaused = false;
      manager.logger.warn({ err: error, hand: held.hand.handId }, "an idle hand could not be paused");
    }
  }
  return paused;
}

/** Hands unused for long are released, and so are those that were made on a guess nobody came for. */
export async function releaseIdle(manager: Manager): Promise<number> {
  const now = manager.clock.nowMs();
  const idle = new Set(idleFor(manager, manager.limits.idleMs));
  let released = 0;
  for (const held of manager.held.all()) {
    const { record } = held.stored;
    const isOver = isGuess(record) && (record.speculativeUntilMs ?? 0) < now;
    if (!isOver && !idle.has(held)) continue;
    const stored = await manager.store.byId(held.hand.handId);
    if (stored?.record.handId !== held.hand.handId || held.running > 0) continue;
    if (await releaseHand(manager, stored, isOver ? "unused" : "idle")) released++;
  }
  return released;
}

/** A word to every hand that is awake: the agent ends a hand that no manager speaks to for hours. */
export async function keepInTouch(manager: Manager): Promise<void> {
  const awake = manager.held.all().filter((held) => !held.isPaused);
  const words = awake.map(({ hand }) => withDeadline(TOUCH_MS, "a hand's answer", () => hand.state(NO_OPERATION)));
  for (const [index, done] of (await Promise.allSettled(words)).entries()) {
    if (done.status === "fulfilled") continue;
    manager.logger.warn({ err: done.reason, hand: awake[index]?.hand.handId }, "a hand does not answer");
  }
}

function idleFor(manager: Manager, ms: number): HeldHand[] {
  if (ms === 0) return [];
  const since = manager.clock.nowMs() - ms;
  return manager.held.all().filter((held) => held.running === 0 && held.lastUsedMs <= since);
}
