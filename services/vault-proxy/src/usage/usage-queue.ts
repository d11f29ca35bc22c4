import { type Lifecycle, type Logger, retry, toAppError } from "@manyhands/kit";
import type { Usage, UsageSink, UsageWriter } from "./usage.ts";

/** Bounds of the queue. */
export type UsageQueueOptions = {
  readonly name: string;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  /** Uses that wait at most; more are dropped, counted and logged. Default 4096. */
  readonly capacity?: number;
  /** Writes in flight at most. Default 8. */
  readonly concurrency?: number;
};

const ATTEMPTS = 4;
const WRITE_MS = 5000;

/** Hands uses to a writer in the background, in order of arrival, and finishes what waits when the service stops. */
export function usageQueue(writer: UsageWriter, options: UsageQueueOptions): UsageSink & { readonly dropped: number } {
  const { name, logger, lifecycle, capacity = 4096, concurrency = 8 } = options;
  const waiting: Usage[] = [];
  const running = new Set<Promise<void>>();
  let dropped = 0;

  const write = async (usage: Usage) => {
    try {
      await retry(() => writer.write(usage, AbortSignal.timeout(WRITE_MS)), { attempts: ATTEMPTS, maxMs: 1000 });
    } catch (error) {
      dropped += 1;
      const { session, proxy, outcome } = usage;
      logger.error({ err: toAppError(error), queue: name, session, proxy, outcome }, "a use could not be recorded");
    }
  };
  const pump = () => {
    while (running.size < concurrency) {
      const next = waiting.shift();
      if (!next) {
        return;
      }
      const task: Promise<void> = write(next).finally(() => {
        running.delete(task);
        pump();
      });
      running.add(task);
    }
  };
  lifecycle.onStop(`usage queue ${name}`, async (signal) => {
    while (running.size > 0 && !signal.aborted) {
      await Promise.race(running);
    }
  });

  return {
    get dropped() {
      return dropped;
    },
    record(usage) {
      if (waiting.length >= capacity) {
        dropped += 1;
        logger.warn({ queue: name, dropped }, "the queue of uses is full; one was dropped");
        return;
      }
      waiting.push(usage);
      pump();
    },
  };
}
