import { type Clock, systemClock } from "./clock.ts";
import { type AppError, toAppError } from "./errors.ts";

/** How waits between attempts grow. All in milliseconds. */
export type BackoffOptions = {
  /** The first wait; default 100. */
  readonly initialMs?: number;
  /** No wait is longer than this; default 5000. */
  readonly maxMs?: number;
  /** Growth per attempt; default 2. */
  readonly factor?: number;
  /** 0..1 source of the jitter; default Math.random. */
  readonly random?: () => number;
};

/** The wait before attempt `attempt` (1 = first repeat): exponential, capped, with "equal jitter" (half fixed, half random). */
export function backoffMs(attempt: number, options: BackoffOptions = {}): number {
  const { initialMs = 100, maxMs = 5000, factor = 2, random = Math.random } = options;
  const full = Math.min(maxMs, initialMs * factor ** Math.max(0, attempt - 1));
  return Math.round(full / 2 + (full / 2) * random());
}

/** Options of `retry`. */
export type RetryOptions = BackoffOptions & {
  /** How often to try altogether, at least 1. There is no unlimited form. */
  readonly attempts: number;
  /** Which errors to try again; default: those whose retry hint is not `never`. */
  readonly when?: (error: AppError) => boolean;
  /** Called before each wait. */
  readonly onRetry?: (error: AppError, attempt: number, waitMs: number) => void;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
};

/**
 * Runs `work` until it succeeds, an error must not be retried, or the attempts are used up; throws the last error as
 * AppError. A `{afterMs}` hint is a lower bound of the wait. Only for work that is safe to repeat.
 */
export async function retry<T>(work: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const { attempts, when = isRetryable, onRetry, signal, clock = systemClock } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      signal?.throwIfAborted();
      return await work(attempt);
    } catch (thrown) {
      const error = toAppError(thrown);
      if (attempt >= attempts || signal?.aborted || !when(error)) {
        throw error;
      }
      const hintMs = typeof error.retry === "object" ? error.retry.afterMs : 0;
      const waitMs = Math.max(hintMs, backoffMs(attempt, options));
      onRetry?.(error, attempt, waitMs);
      await clock.sleep(waitMs, signal);
    }
  }
}

/** True when the error itself says a repeat may help. */
export function isRetryable(error: AppError): boolean {
  return error.retry !== "never";
}
