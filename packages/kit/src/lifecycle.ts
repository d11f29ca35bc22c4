import { withDeadline } from "./deadline.ts";
import { AppError } from "./errors.ts";
import type { Logger } from "./logger.ts";

/**
 * Phases of a stop, in order: `accept` refuses new work, `drain` finishes running work, `close` frees the rest.
 * Within a phase: stops run one after another in reverse order of registration.
 */
export type StopPhase = "accept" | "drain" | "close";

/** How a stop is registered. */
export type StopOptions = {
  /** How long this stop may take in milliseconds; default `drainMs` in the phase drain, else 5000. */
  readonly deadlineMs?: number;
  /** Default `close`. */
  readonly phase?: StopPhase;
};

/** What `stop` found: which stops failed or ran out of time. Empty = clean. */
export type StopReport = { readonly reason: string; readonly failed: readonly string[] };

/**
 * One service's life. L1: `stop` runs once, whoever calls it how often. L2: readiness goes red and `signal` fires
 * before the first stop runs. L3: a failing or slow stop is logged and the next still runs. L4: every stop has a
 * deadline. L5: something registered after the stop began is stopped at once.
 */
export type Lifecycle = {
  /** Aborts first on stop, with an AppError of kind `unavailable` that asks to retry. */
  readonly signal: AbortSignal;
  /** How long running work may take to finish, in milliseconds. */
  readonly drainMs: number;
  /** True between `setReady(true)` and the stop. */
  readonly ready: boolean;
  /** Reports readiness; ignored once stopping. */
  setReady(ready: boolean): void;
  /** Calls back on each change of readiness; returns how to stop listening. */
  onReady(listener: (ready: boolean) => void): () => void;
  /** Registers how to stop something that was opened. The signal aborts at the stop's deadline. */
  onStop(name: string, stop: (signal: AbortSignal) => Promise<void> | void, options?: StopOptions): void;
  /** Stops everything. Never rejects. */
  stop(reason: string): Promise<StopReport>;
};

const PHASES: readonly StopPhase[] = ["accept", "drain", "close"];
const STOP_DEADLINE_MS = 5000;

/** A new lifecycle; `drainMs` bounds each stop of the phase drain. */
export function createLifecycle(options: { readonly logger: Logger; readonly drainMs: number }): Lifecycle {
  const { logger, drainMs } = options;
  const controller = new AbortController();
  const listeners = new Set<(ready: boolean) => void>();
  const stops: Stop[] = [];
  let ready = false;
  let stopping: Promise<StopReport> | undefined;

  const announce = (next: boolean) => {
    if (ready !== next) {
      ready = next;
      for (const listener of listeners) {
        listener(next);
      }
    }
  };

  const runStops = async (reason: string): Promise<StopReport> => {
    const startedMs = performance.now();
    const failed: string[] = [];
    for (const phase of PHASES) {
      for (;;) {
        const index = stops.findLastIndex((stop) => stop.phase === phase);
        const stop = stops[index];
        if (!stop) {
          break;
        }
        stops.splice(index, 1);
        if (!(await runStop(stop, logger))) {
          failed.push(stop.name);
        }
      }
    }
    logger.info({ reason, failed, stop_ms: Math.round(performance.now() - startedMs) }, "stopped");
    logger.flush();
    return { reason, failed };
  };

  return {
    signal: controller.signal,
    drainMs,
    get ready() {
      return ready;
    },
    setReady(next) {
      if (!stopping) {
        announce(next);
      }
    },
    onReady(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onStop(name, run, { phase = "close", deadlineMs } = {}) {
      const stop = { name, run, phase, deadlineMs: deadlineMs ?? (phase === "drain" ? drainMs : STOP_DEADLINE_MS) };
      stops.push(stop);
      if (controller.signal.aborted) {
        // L5: the ordered run may be past this phase already.
        queueMicrotask(() => {
          const index = stops.indexOf(stop);
          if (index >= 0) {
            stops.splice(index, 1);
            void runStop(stop, logger);
          }
        });
      }
    },
    stop(reason) {
      if (!stopping) {
        logger.info({ reason }, "stopping");
        announce(false);
        controller.abort(AppError.unavailable("SHUTTING_DOWN", "the service is shutting down"));
        stopping = runStops(reason);
      }
      return stopping;
    },
  };
}

type Stop = {
  readonly name: string;
  readonly run: (signal: AbortSignal) => Promise<void> | void;
  readonly phase: StopPhase;
  readonly deadlineMs: number;
};

async function runStop(stop: Stop, logger: Logger): Promise<boolean> {
  try {
    await withDeadline(stop.deadlineMs, `stopping ${stop.name}`, async (signal) => stop.run(signal));
    return true;
  } catch (error) {
    logger.error({ err: error, stop: stop.name, phase: stop.phase }, "a stop failed");
    return false;
  }
}
