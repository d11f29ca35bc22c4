import { AppError } from "./errors.ts";

/** The share of the remaining time that a caller keeps for itself when it calls on. */
const OWN_SHARE = 0.05;

/** Milliseconds left until `deadlineMs` (epoch), less 5 % for our own work; undefined when there is no deadline. */
export function remainingMs(deadlineMs: number | undefined, nowMs: number = Date.now()): number | undefined {
  if (deadlineMs === undefined || !Number.isFinite(deadlineMs)) {
    return undefined;
  }
  return Math.max(0, Math.floor((deadlineMs - nowMs) * (1 - OWN_SHARE)));
}

/** One signal that aborts when any of the given ones does; missing ones are left out. */
export function anySignal(...signals: (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any(signals.filter((signal) => signal !== undefined));
}

/**
 * Runs `work` with a signal that aborts after `ms` or with `signal`, and rejects then even when `work` ignores it.
 * Rejects with AppError kind `deadline` at the deadline, or with the outer signal's reason.
 */
export async function withDeadline<T>(
  ms: number,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(AppError.deadline(`${what} took longer than ${ms} ms`)), ms);
  const combined = anySignal(controller.signal, signal);
  try {
    return await raceAbort(work(combined), combined);
  } finally {
    clearTimeout(timer);
  }
}

/** The promise's outcome, or a rejection with the signal's reason if that comes first. A late rejection is swallowed. */
export function raceAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) {
      onAbort();
    } else {
      signal.addEventListener("abort", onAbort, { once: true });
    }
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
