/**
 * One operation, from its intent to its result, whatever dies on the way (invariant H4).
 *
 * Start: Execute once. Refused before acceptance → not run. Anything else that is not a result → follow.
 * Follow: Attach until there is a result, the proof that nothing started (`sendAgain`), or nobody has answered for
 * `followMs`: then the outcome is unknown, and the model is told so.
 */
import {
  boundText,
  type Call,
  type ContentBlock,
  type EventDraft,
  followUp,
  handField,
  interruptedWhileRunning,
  notStarted,
  type OperationOutcome,
  resultDraft,
  unknownOutcome,
} from "@manyhands/core";
import { type AppError, backoffMs, type Clock, type RpcClient, retry, toAppError } from "@manyhands/kit";
import {
  type AttachResponse,
  type ExecuteResponse,
  type OperationResult,
  Outcome,
  type SandboxService,
} from "@manyhands/protocol";
import type { Pass } from "../fault-points.ts";

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
const graceMs = 30_000;
const followMs = 60_000;
const cancelMs = 800;
const cancelCallMs = 700;
const attachDeadlineMs = 3_600_000;
const grantAttempts = 8;

/** What the harness asks of sandbox-manager. */
export type Sandboxes = Pick<RpcClient<typeof SandboxService>, "provision" | "execute" | "attach" | "cancelOperation"> &
  Partial<Pick<RpcClient<typeof SandboxService>, "release" | "getGrant">>;

/** What an operation needs from outside. */
export interface OperationPorts {
  readonly sandboxes: Sandboxes;
  readonly pass: Pass;
  readonly clock: Clock;
}

/** Runs it to its end. Rejects with AppError `fenced` when a newer brain holds the session, or when detached. */
export async function runOperation(ports: OperationPorts, asked: Operation): Promise<OperationEnd> {
  const shown = await showGrant(ports, asked);
  return "type" in shown ? shown : runShown(ports, shown);
}

/** With the token of its grant, which the log does not hold; empty for the session's own hand. */
type Shown = Operation & { readonly grantToken: string };

async function showGrant({ sandboxes, clock }: OperationPorts, operation: Operation): Promise<Shown | OperationEnd> {
  const { grantId, sessionId = "", detach: signal, mode, call } = operation;
  if (grantId === undefined) return { ...operation, grantToken: "" };
  try {
    const { getGrant } = sandboxes;
    if (!getGrant) throw new TypeError("this harness has no way to ask for grants");
    const { token } = await retry(() => getGrant({ grantId, sessionId }, { signal }), {
      attempts: grantAttempts,
      initialMs: 50,
      maxMs: 2_000,
      signal,
      clock,
      when: (error) => error.kind === "unavailable",
    });
    return { ...operation, grantToken: token };
  } catch (error) {
    signal.throwIfAborted();
    const why = toAppError(error).message;
    return mode === "start"
      ? answered(operation, "NOT_STARTED", notStarted(call, why), true)
      : answered(operation, "UNKNOWN", unknownOutcome(call, false, why), true);
  }
}

async function runShown(ports: OperationPorts, operation: Shown): Promise<OperationEnd> {
  const limit = new AbortController();
  const over = new AbortController();
  const stop = () => {
    void cancelOperation(ports.sandboxes, operation);
    ports.clock.sleep(cancelMs, over.signal).then(
      () => limit.abort(),
      () => undefined,
    );
  };
  if (operation.cancel.aborted) stop();
  else operation.cancel.addEventListener("abort", stop, { once: true });
  try {
    const signal = AbortSignal.any([operation.detach, limit.signal]);
    return await drive(ports, operation, signal);
  } catch (error) {
    operation.detach.throwIfAborted();
    if (!limit.signal.aborted) throw error;
    return answered(operation, "UNKNOWN", unknownOutcome(operation.call, false, interruptedWhileRunning), true);
  } finally {
    over.abort();
    operation.cancel.removeEventListener("abort", stop);
  }
}

async function drive(ports: OperationPorts, operation: Shown, signal: AbortSignal): Promise<OperationEnd> {
  if (operation.mode === "start") {
    const first = await execute(ports, operation, signal);
    if (first !== "follow") return first;
  }
  const { clock } = ports;
  let silentSinceMs = clock.nowMs();
  for (let failures = 1; clock.nowMs() - silentSinceMs < followMs; failures += 1) {
    const asked = clock.nowMs();
    const end = await attach(ports, operation, signal);
    if (typeof end === "object") return end;
    if (end === "heard") {
      failures = 0;
      silentSinceMs = clock.nowMs();
    } else silentSinceMs = Math.min(silentSinceMs, asked);
    await clock.sleep(backoffMs(failures + 1, { initialMs: 50, maxMs: 2_000 }), signal);
  }
  return answered(
    operation,
    "UNKNOWN",
    unknownOutcome(operation.call, false, "The sandbox service did not answer."),
    true,
  );
}

/** Sends it. `follow` when it may have been accepted and the answer was lost. */
async function execute(
  { sandboxes, pass }: OperationPorts,
  operation: Shown,
  signal: AbortSignal,
): Promise<OperationEnd | "follow"> {
  const { call, timeoutMs } = operation;
  const request = {
    sessionId: operation.sessionId ?? "",
    grantToken: operation.grantToken,
    handId: operation.handId,
    operationId: call.id,
    ...calledAs(call),
    epoch: BigInt(operation.epoch),
    timeout: { seconds: BigInt(Math.floor(timeoutMs / 1_000)), nanos: (timeoutMs % 1_000) * 1_000_000 },
  };
  try {
    const result = await resultOf(sandboxes.execute(request, { signal, deadlineMs: timeoutMs + graceMs }), pass);
    return (result && settle(operation, result)) ?? "follow";
  } catch (thrown) {
    signal.throwIfAborted();
    return refusal(operation, toAppError(thrown)) ?? "follow";
  }
}

/** The end of an operation that was refused before acceptance; undefined when that is not proved. */
function refusal(operation: Operation, error: AppError): OperationEnd | undefined {
  if (isFence(error)) throw error;
  if (isHandGone(error)) return handGone(operation, error, "NOT_STARTED");
  if (
    error.kind === "invalid" ||
    error.kind === "denied" ||
    error.kind === "unimplemented" ||
    error.kind === "exhausted"
  ) {
    return answered(operation, "NOT_STARTED", notStarted(operation.call, error.message), true);
  }
  return undefined;
}

/** With it, any manager finds the tool's words for the end. Which hand it is for is no part of what the tool does. */
function calledAs({ name, input }: Call) {
  const { [handField]: _, ...own } = input;
  return { name, inputJson: new TextEncoder().encode(JSON.stringify(own)) };
}

/** Asks how it stands. `heard` when somebody answered without a result, `silent` when nobody did. */
async function attach(
  { sandboxes, pass }: OperationPorts,
  operation: Shown,
  signal: AbortSignal,
): Promise<OperationEnd | "heard" | "silent"> {
  const request = {
    sessionId: operation.sessionId ?? "",
    grantToken: operation.grantToken,
    handId: operation.handId,
    operationId: operation.call.id,
    fromOffset: 0n,
    epoch: BigInt(operation.epoch),
    ...calledAs(operation.call),
  };
  try {
    const result = await resultOf(sandboxes.attach(request, { signal, deadlineMs: attachDeadlineMs }), pass);
    return (result && settle(operation, result, operation.mode === "start")) ?? "heard";
  } catch (thrown) {
    signal.throwIfAborted();
    const error = toAppError(thrown);
    if (isFence(error)) throw error;
    // Under a grant an operation is noted before it begins: one that is not noted was not begun.
    if (error.reason === "OPERATION_NOT_FOUND") return notBegun(operation);
    if (isHandGone(error)) return handGone(operation, error, "UNKNOWN");
    if (error.kind === "invalid" || error.kind === "denied" || error.kind === "unimplemented") {
      return answered(operation, "UNKNOWN", unknownOutcome(operation.call, false, error.message), true);
    }
    return "silent";
  }
}

async function resultOf(
  stream: AsyncIterable<ExecuteResponse | AttachResponse>,
  pass: Pass,
): Promise<OperationResult | undefined> {
  for await (const { item } of stream) {
    if (item.case === "started") pass("during_execute");
    if (item.case === "result") {
      pass("after_execute_returned");
      return item.value;
    }
  }
  return undefined;
}

/**
 * What a result means; undefined when it still runs. `isOnItsWay`: this brain sent the operation and had no answer, so
 * that one which has not started may still do so, as long as the same epoch holds: that is no proof for the model.
 */
function settle(operation: Operation, result: OperationResult, isOnItsWay = false): OperationEnd | undefined {
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
function notBegun(operation: Operation): OperationEnd {
  if (operation.mode === "start")
    return answered(operation, "UNKNOWN", unknownOutcome(operation.call, false, onItsWay), true);
  if (followUp("NOT_STARTED", operation.attempt, operation.maxAttempts) === "sendAgain" && !operation.cancel.aborted)
    return { type: "sendAgain" };
  return answered(operation, "NOT_STARTED", notStarted(operation.call, "it was never begun."), true);
}

function handGone(operation: Operation, error: AppError, outcome: "NOT_STARTED" | "UNKNOWN"): OperationEnd {
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

function isHandGone(error: AppError): boolean {
  return error.reason === "HAND_LOST" || error.kind === "notFound" || isTransferred(error);
}

function isTransferred({ kind, details }: AppError): boolean {
  return kind === "fenced" && details.metadata?.transferred === "true";
}

/** A newer brain holds the session. A hand that is gone, or another session's, is no such thing. */
function isFence(error: AppError): boolean {
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

function answered(operation: Operation, outcome: OperationOutcome, words: string, isError: boolean): OperationEnd {
  return { type: "answered", events: [resultDraft(operation.call, outcome, words, isError, operation.handId)] };
}

async function cancelOperation(sandboxes: Sandboxes, operation: Shown): Promise<void> {
  const { sessionId = "", handId, call, epoch, grantToken } = operation;
  try {
    const request = { sessionId, grantToken, handId, operationId: call.id, epoch: BigInt(epoch) };
    await sandboxes.cancelOperation(request, { deadlineMs: cancelCallMs });
  } catch {
    // the stream of the operation tells how it ended, or its limit does
  }
}
