/** A clock whose time only moves when told. Fits the `Clock` of the kit. */
export type FakeClock = {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** Resolves when the time has been moved far enough; rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Moves the time and wakes, in order of time, whoever slept until then. */
  advance(ms: number): Promise<void>;
  /** How many sleep now. */
  readonly sleepers: number;
};

type Sleeper = { readonly untilMs: number; wake(): void };

/** A clock standing at `startMs` (default 2026-01-01). */
export function fakeClock(startMs: number = Date.UTC(2026, 0, 1)): FakeClock {
  let now = startMs;
  const sleepers = new Set<Sleeper>();

  const next = (limitMs: number): Sleeper | undefined => {
    const due = [...sleepers].filter((sleeper) => sleeper.untilMs <= limitMs);
    return due.sort((a, b) => a.untilMs - b.untilMs)[0];
  };

  return {
    nowMs: () => now,
    get sleepers() {
      return sleepers.size;
    },
    sleep(ms, signal) {
      return new Promise<void>((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const onAbort = () => {
          sleepers.delete(sleeper);
          reject(signal?.reason);
        };
        const sleeper: Sleeper = {
          untilMs: now + Math.max(0, ms),
          wake() {
            sleepers.delete(sleeper);
            signal?.removeEventListener("abort", onAbort);
            resolve();
          },
        };
        sleepers.add(sleeper);
        signal?.addEventListener("abort", onAbort, { once: true });
      });
    },
    async advance(ms) {
      const limit = now + ms;
      // Lets code that is on its way to a sleep get there first.
      await new Promise(setImmediate);
      for (let sleeper = next(limit); sleeper; sleeper = next(limit)) {
        now = Math.max(now, sleeper.untilMs);
        sleeper.wake();
        // Lets the woken code run, and sleep again, before the time moves on.
        await new Promise(setImmediate);
      }
      now = limit;
    },
  };
}
