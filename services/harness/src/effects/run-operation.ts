/**
 * One operation, from its intent to its result, whatever dies on the way (invariant H4).
 *
 * Start: Execute, again only while the sandbox service says that it is without its bus: the same id attaches to what was
 * accepted. Refused at first, before acceptance → not run. Anything else that is not a result → follow.
 * Follow: Attach until there is a result, the proof that nothing started (`sendAgain`), or nobody has answered for
 * `followMs`: then the outcome is unknown, and the model is told so.
 */
import { type Call, handField, interruptedWhileRunning, notStarted, unknownOutcome } from "@manyhands/core";
import { type AppError, backoffMs, type Clock, type RpcClient, retry, toAppError } from "@manyhands/kit";
import type { AttachResponse, ExecuteResponse, OperationResult, SandboxService } from "@manyhands/protocol";
import type { Pass } from "../fault-points.ts";
import {
  answered,
  handGone,
  isFence,
  isHandGone,
  notBegun,
  type Operation,
  type OperationEnd,
  settle,
} from "./operation-end.ts";

export type { Operation, OperationEnd } from "./operation-end.ts";

const graceMs = 30_000;
const followMs = 60_000;
/** As long as a server of the bus may take to come back. */
const busAwayMs = 20_000;
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
    const first = await send(ports, operation, signal);
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

/** Sends it until the sandbox service has its bus. `follow` when it may have been accepted and the answer was lost. */
async function send(ports: OperationPorts, operation: Shown, signal: AbortSignal): Promise<OperationEnd | "follow"> {
  const { clock } = ports;
  const untilMs = clock.nowMs() + busAwayMs;
  let end = await execute(ports, operation, signal, true);
  for (let failures = 1; end === "busAway" && clock.nowMs() < untilMs; failures += 1) {
    await clock.sleep(backoffMs(failures, { initialMs: 50, maxMs: 1_000 }), signal);
    if (operation.cancel.aborted) return "follow"; // stopped meanwhile: it must not begin now
    end = await execute(ports, operation, signal, false);
  }
  return end === "busAway" ? "follow" : end;
}

/** Sends it once. Only the refusal of the first time proves that nothing was accepted. */
async function execute(
  { sandboxes, pass }: OperationPorts,
  operation: Shown,
  signal: AbortSignal,
  isFirst: boolean,
): Promise<OperationEnd | "follow" | "busAway"> {
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
    const error = toAppError(thrown);
    if (isFence(error)) throw error;
    if (error.reason === "BUS_UNAVAILABLE") return "busAway";
    return (isFirst ? refusal(operation, error) : undefined) ?? "follow";
  }
}

/** The end of an operation that was refused before acceptance; undefined when that is not proved. */
function refusal(operation: Operation, error: AppError): OperationEnd | undefined {
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

async function cancelOperation(sandboxes: Sandboxes, operation: Shown): Promise<void> {
  const { sessionId = "", handId, call, epoch, grantToken } = operation;
  try {
    const request = { sessionId, grantToken, handId, operationId: call.id, epoch: BigInt(epoch) };
    await sandboxes.cancelOperation(request, { deadlineMs: cancelCallMs });
  } catch {
    // the stream of the operation tells how it ended, or its limit does
  }
}
