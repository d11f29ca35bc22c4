/**
 * Stores one frame and finds out what became of it. An unanswered append is sent again, byte for byte: create-only
 * makes that harmless, and its answer settles the first one. Only a frame that exists after an unanswered try is
 * compared, because only then can it be ours.
 */
import { AppError, backoffMs, type Clock } from "@manyhands/kit";
import type { EventStore, FrameToAppend } from "../store/event-store.ts";

/** How long to try. */
export interface StoreFrameOptions {
  /** When to give up, milliseconds since 1970. */
  readonly deadlineMs: number;
  readonly clock: Clock;
}

/** A leader that steps down leaves what was sent to it unanswered for ever; its successor answers the same frame at once. */
const tryMs = 1000;
const minimumTryMs = 5;

/**
 * `stored` with its sequence when known, or `lost` when another frame has the number. Throws AppError `unavailable`
 * (OUTCOME_UNKNOWN when it was sent: the frame may still turn up; a repeat with the same ids is recognised then).
 */
export async function storeFrame(
  store: EventStore,
  frame: FrameToAppend,
  options: StoreFrameOptions,
): Promise<{ readonly kind: "stored"; readonly sequence?: number } | { readonly kind: "lost" }> {
  let sent = false;
  let why = "the deadline passed";
  for (let attempt = 1; ; attempt += 1) {
    const leftMs = options.deadlineMs - options.clock.nowMs();
    if (leftMs < minimumTryMs) throw unknownOutcome(sent, why);
    const outcome = await attemptOnce(store, frame, Math.min(tryMs, leftMs), sent);
    if (outcome.kind === "stored") return outcome;
    if (outcome.kind === "exists") {
      sent ||= outcome.maybeOurs === true;
      if (!sent) return { kind: "lost" };
      const found = await readBack(store, frame, Math.min(tryMs, leftMs));
      if (found.kind !== "notRead") return found;
      why = found.why;
    } else {
      sent ||= outcome.kind === "unknown";
      why = outcome.why;
    }
    const waitMs = Math.min(backoffMs(attempt, { initialMs: 20, maxMs: 500 }), Math.max(0, leftMs - minimumTryMs));
    await options.clock.sleep(waitMs);
  }
}

/** Whose frame is there. A read without an answer is only another reason to wait: what was sent may still be ours. */
async function readBack(store: EventStore, { sessionId, frame, payload }: FrameToAppend, timeoutMs: number) {
  try {
    const theirs = await store.readFromLeader(sessionId, frame, timeoutMs);
    if (theirs === undefined) return { kind: "notRead" as const, why: "the frame that exists cannot be read" };
    return Buffer.compare(theirs, payload) === 0 ? { kind: "stored" as const } : { kind: "lost" as const };
  } catch (error) {
    if (!(error instanceof AppError) || error.kind !== "unavailable") throw error;
    return { kind: "notRead" as const, why: error.message };
  }
}

/** Once something was sent, a refusal to send more is only another reason to wait. */
async function attemptOnce(store: EventStore, frame: FrameToAppend, timeoutMs: number, sent: boolean) {
  try {
    return await store.append(frame, timeoutMs);
  } catch (error) {
    if (!sent || !(error instanceof AppError) || error.kind !== "unavailable") throw error;
    return { kind: "notSent" as const, why: error.message };
  }
}

function unknownOutcome(sent: boolean, why: string): AppError {
  return sent
    ? AppError.unavailable(
        "OUTCOME_UNKNOWN",
        `the log did not acknowledge in time, nothing is known of the outcome: ${why}`,
      )
    : AppError.unavailable("UNAVAILABLE", `the log does not answer, nothing was sent: ${why}`);
}
