/** One at a time, first come first served, with a bounded queue. */
import { AppError, raceAbort } from "@manyhands/kit";

/** A mutex. */
export interface Mutex {
  /**
   * Runs `work` when its turn comes. Throws AppError `exhausted`/TOO_MANY_WAITING when the queue is full, and the
   * signal's reason when it aborts before the turn; running work is never cut off.
   */
  run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

/** A mutex with room for `maxWaiting`. */
export function createMutex(maxWaiting: number): Mutex {
  let last: Promise<void> = Promise.resolve();
  let waiting = 0;
  return {
    async run(work, signal) {
      if (waiting >= maxWaiting) {
        throw AppError.exhausted("TOO_MANY_WAITING", `more than ${maxWaiting} appends wait for this session`, 100);
      }
      const turn = last;
      const done = Promise.withResolvers<void>();
      last = turn.then(() => done.promise);
      const isFree = waiting === 0; // the turn has come: nothing to wait for, nothing to be woken from
      waiting += 1;
      try {
        if (isFree) signal.throwIfAborted();
        else await raceAbort(turn, signal);
        return await work();
      } finally {
        waiting -= 1;
        done.resolve();
      }
    },
  };
}
