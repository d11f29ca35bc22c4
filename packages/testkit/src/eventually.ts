import { setTimeout as sleep } from "node:timers/promises";

/** Bounds of `eventually`, in milliseconds. */
export type EventuallyOptions = {
  /** Give up after this; default 5000. */
  readonly timeoutMs?: number;
  /** Look again after this; default 10. */
  readonly everyMs?: number;
};

/**
 * Waits until `check` returns something other than false, null or undefined without throwing, and returns that.
 * At the deadline it throws the last error of `check`, or says that the condition never held.
 */
export async function eventually<T>(
  check: () => T | Promise<T>,
  options: EventuallyOptions = {},
): Promise<Exclude<T, false | null | undefined>> {
  const { timeoutMs = 5000, everyMs = 10 } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let failure: unknown;
    try {
      const value = await check();
      if (value !== false && value !== null && value !== undefined) {
        // The three values were just ruled out; TypeScript does not narrow a generic by comparison.
        return value as Exclude<T, false | null | undefined>;
      }
    } catch (error) {
      failure = error;
    }
    if (performance.now() >= deadline) {
      throw failure ?? new Error(`the condition did not hold within ${timeoutMs} ms`);
    }
    await sleep(everyMs);
  }
}
