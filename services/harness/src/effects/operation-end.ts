/** An operation, and what each answer about it means for the log. */
import {
  boundText,
  type Call,
  type ContentBlock,
  type EventDraft,
  followUp,
  interruptedWhileRunning,
  notStarted,
  type OperationOutcome,
  resultDraft,
  unknownOutcome,
} from "@manyhands/core";
import type { AppError } from "@manyhands/kit";
import { type OperationResult, Outcome } from "@manyhands/protocol";

/** An operation to run or follow. */
export interface Operation {
  /** On whose behalf: a hand that became another session's refuses it. Absent: the platform's. */
  readonly sessionId?: string;
  readonly call: Call;
  readonly handId: string;
  /** Where the hand is another session's: the right by which it is used. */
  readonly grantId?: string;
  readonly epoch: number;
  readonly attempt: number;
  /** `start` sends it; `follow` never does. */
  readonly mode: "start" | "follow";
  readonly timeoutMs: number;
  readonly maxAttempts: number;
  readonly outputBytes: number;
  /** Lets go of it: it runs on, somebody else will follow. */
  readonly detach: AbortSignal;
  /** The user interrupted: stop it, and come to an end soon. */
  readonly cancel: AbortSignal;
}

/** How it ended for the log; `sendAgain` is the proof that it never started. */
export type OperationEnd =
  | { readonly type: "answered"; readonly events: readonly EventDraft[] }
  | { readonly type: "sendAgain" };

const onItsWay = "It was sent, no answer came, and it had not started when that was looked up.";

/**
 * What a result means; undefined when it still runs. `isOnItsWay`: this brain sent the operation and had no answer, so
 * that one which has not started may still do so, as long as the same epoch holds: that is no proof for the model.
 */
export function settle(operation: Operation, result: OperationResult, isOnItsWay = false): OperationEnd | undefined {
  const outcome = outcomeOf(result.outcome);
  if (outcome === "RUNNING") return undefined;
  const next = followUp(outcome, operation.attempt, operation.maxAttempts);
  if (next === "sendAgain" && !result.handLost && !operation.cancel.aborted) return { type: "sendAgain" };
  if (outcome === "NOT_STARTED" && isOnItsWay && !result.handLost) {
    return answered(operation, "UNKNOWN", unknownOutcome(operation.call, false, onItsWay), true);
  }
  const lost: EventDraft[] = result.handLost
    ? [{ type: "hand.lost", hand_id: operation.handId, reason: result.lostReason }]
    : [];
  const text = wordsOf(operation, result, outcome);
  const isError = result.isError || outcome !== "COMPLETED";
  const answer = resultDraft(
    operation.call,
    outcome,
    withImage(boundText(text, operation.outputBytes), result),
    isError,
    operation.handId,
  );
  return { type: "answered", events: [...lost, answer] };
}

/** A picture follows the words about it. */
function withImage(words: string, { image }: OperationResult): ContentBlock[] | string {
  if (image === undefined) return words;
  const data = Buffer.from(image.data).toString("base64");
  const picture = { type: "image", source: { type: "base64", media_type: image.mediaType, data } } as const;
  return [{ type: "text", text: words }, picture];
}

function wordsOf(operation: Operation, result: OperationResult, outcome: OperationOutcome): string {
  const { call } = operation;
  if (outcome === "UNKNOWN") return unknownOutcome(call, result.handLost, result.content);
  if (outcome === "NOT_STARTED") {
    const why = result.handLost ? `the sandbox was lost before it started (${result.lostReason}).` : result.content;
    return notStarted(call, why);
  }
  if (outcome === "KILLED" && operation.cancel.aborted) return `${interruptedWhileRunning}\n${result.content}`.trim();
  return result.content;
}

/** The proof that it may be sent again, but for an operation of this brain's that may still be on its way. */
export function notBegun(operation: Operation): OperationEnd {
  if (operation.mode === "start")
    return answered(operation, "UNKNOWN", unknownOutcome(operation.call, false, onItsWay), true);
  if (followUp("NOT_STARTED", operation.attempt, operation.maxAttempts) === "sendAgain" && !operation.cancel.aborted)
    return { type: "sendAgain" };
  return answered(operation, "NOT_STARTED", notStarted(operation.call, "it was never begun."), true);
}

/** The hand is gone, and what was asked of it did not run, or nobody knows. */
export function handGone(operation: Operation, error: AppError, outcome: "NOT_STARTED" | "UNKNOWN"): OperationEnd {
  const { call, handId, grantId } = operation;
  if (isTransferred(error) || grantId !== undefined) return outOfReach(operation, error, outcome);
  const words =
    outcome === "UNKNOWN"
      ? unknownOutcome(call, true, error.message)
      : notStarted(call, `the sandbox was lost before it started (${error.message}). The next call gets a new one.`);
  const lost: EventDraft = { type: "hand.lost", hand_id: handId, reason: error.message };
  return { type: "answered", events: [lost, resultDraft(call, outcome, words, true, handId)] };
}

/** A hand that is another session's, or became one: nothing of this session's was lost with it. */
function outOfReach(operation: Operation, { message }: AppError, outcome: "NOT_STARTED" | "UNKNOWN"): OperationEnd {
  const { call, handId, grantId } = operation;
  const words = outcome === "UNKNOWN" ? unknownOutcome(call, false, message) : notStarted(call, message);
  const lost: EventDraft[] = grantId === undefined ? [] : [{ type: "hand.lost", hand_id: handId, reason: message }];
  return { type: "answered", events: [...lost, resultDraft(call, outcome, words, true, handId)] };
}

/** True when the hand is not there any more, not for this session. */
export function isHandGone(error: AppError): boolean {
  return error.reason === "HAND_LOST" || error.kind === "notFound" || isTransferred(error);
}

function isTransferred({ kind, details }: AppError): boolean {
  return kind === "fenced" && details.metadata?.transferred === "true";
}

/** A newer brain holds the session. A hand that is gone, or another session's, is no such thing. */
export function isFence(error: AppError): boolean {
  return error.kind === "fenced" && !isHandGone(error);
}

function outcomeOf(outcome: Outcome): OperationOutcome | "RUNNING" {
  switch (outcome) {
    case Outcome.COMPLETED:
      return "COMPLETED";
    case Outcome.NOT_STARTED:
      return "NOT_STARTED";
    case Outcome.RUNNING:
      return "RUNNING";
    case Outcome.KILLED:
      return "KILLED";
    default:
      return "UNKNOWN";
  }
}

/** The end with a result in words. */
export function answered(
  operation: Operation,
  outcome: OperationOutcome,
  words: string,
  isError: boolean,
): OperationEnd {
  return { type: "answered", events: [resultDraft(operation.call, outcome, words, isError, operation.handId)] };
}
