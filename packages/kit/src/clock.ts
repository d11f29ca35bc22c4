import { setTimeout as timer } from "node:timers/promises";

/** Time as a dependency: whatever waits or stamps takes one of these, so that tests own the time. */
export type Clock = {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
};

/** The machine's clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  async sleep(ms, signal) {
    signal?.throwIfAborted();
    try {
      await timer(ms, undefined, signal ? { signal } : undefined);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  },
};
