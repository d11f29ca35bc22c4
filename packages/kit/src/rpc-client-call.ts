import type { DescMethod } from "@bufbuild/protobuf";
import { type CallOptions as GrpcCallOptions, Metadata, status } from "@grpc/grpc-js";
import { ERROR_TABLE } from "./error-table.ts";
import { AppError, toAppError } from "./errors.ts";
import type { Metrics } from "./metrics.ts";
import { methodPath } from "./rpc-definition.ts";
import { fromGrpcStatus } from "./rpc-status.ts";
import type { CallOptions } from "./rpc-types.ts";

/** 24 days: grpc-js counts a deadline in 32 bits of milliseconds at the server, so longer ones would come out negative. */
const MAX_DEADLINE_MS = 24 * 86_400_000;

/** Made once: an abort without a reason makes an error with a stack for every call. */
const CALL_ENDED = AppError.cancelled("the call has ended");

/** One call of a client: its settings, and exactly one end. */
export type ClientCall = {
  readonly metadata: Metadata;
  readonly grpcOptions: GrpcCallOptions;
  /** Aborts when the call is over; made when asked for, since most calls have no use for it. */
  readonly ended: AbortSignal;
  /** Starts the call and ties it to the caller's signal. */
  start<C extends { cancel(): void }>(begin: () => C): C;
  /** Counts the end; only the first one counts. */
  finish(code: status): void;
  /** Notes that the stream of requests failed; that error is what the caller gets. */
  sourceFailed(error: unknown): void;
  /** The AppError for what ended the call, and counts it. */
  fail(thrown: unknown): AppError;
};

/** Opens the books of a call. Throws when the deadline is not a positive number. */
export function openClientCall(
  caller: { readonly defaultDeadlineMs: number; readonly metrics: Metrics | undefined },
  method: DescMethod,
  options: CallOptions,
): ClientCall {
  const path = methodPath(method);
  const startedMs = performance.now();
  const { signal } = options;
  let isOver = false;
  let ended: AbortController | undefined;
  let source: { readonly error: unknown } | undefined;
  let onAbort = () => {};

  const finish = (code: status) => {
    if (isOver) {
      return;
    }
    isOver = true;
    ended?.abort(CALL_ENDED);
    signal?.removeEventListener("abort", onAbort);
    const { metrics } = caller;
    if (metrics) {
      const tookMs = performance.now() - startedMs;
      setImmediate(() => count(metrics, path, code, tookMs)); // whoever waits for the answer goes first
    }
  };

  return {
    metadata: toMetadata(options),
    grpcOptions: deadlineOf(options.deadlineMs ?? caller.defaultDeadlineMs, method),
    get ended() {
      ended ??= new AbortController();
      if (isOver) {
        ended.abort(CALL_ENDED);
      }
      return ended.signal;
    },
    finish,
    start(begin) {
      if (signal?.aborted) {
        throw abortReason(signal);
      }
      const call = begin();
      onAbort = () => call.cancel();
      signal?.addEventListener("abort", onAbort, { once: true });
      return call;
    },
    sourceFailed(error) {
      source ??= { error };
    },
    fail(thrown) {
      const error = source ? toAppError(source.error) : failure(thrown, signal, path);
      finish(ERROR_TABLE[error.kind].grpc);
      return error;
    },
  };
}

function count(metrics: Metrics, path: string, code: status, tookMs: number): void {
  const labels = { method: path, code: status[code] ?? "UNKNOWN" };
  metrics.rpcCalled.inc(labels);
  metrics.rpcCalledSeconds.observe(labels, tookMs / 1000);
}

function failure(thrown: unknown, signal: AbortSignal | undefined, path: string): AppError {
  if (thrown instanceof AppError) {
    return thrown;
  }
  if (signal?.aborted) {
    return abortReason(signal);
  }
  if (thrown instanceof Error && "code" in thrown && typeof thrown.code === "number" && "metadata" in thrown) {
    const metadata = thrown.metadata instanceof Metadata ? thrown.metadata : new Metadata();
    const details = "details" in thrown && typeof thrown.details === "string" ? thrown.details : thrown.message;
    return fromGrpcStatus({ code: thrown.code, details, metadata }, new Error(`${path} failed`));
  }
  return toAppError(thrown);
}

function abortReason(signal: AbortSignal): AppError {
  const reason = toAppError(signal.reason);
  return reason.kind === "internal" ? AppError.cancelled("the call was cancelled", signal.reason) : reason;
}

function deadlineOf(deadlineMs: number, method: DescMethod): GrpcCallOptions {
  const streams = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
  if (deadlineMs === Number.POSITIVE_INFINITY) {
    if (streams) {
      return {};
    }
    throw AppError.invalid([{ field: "deadlineMs", description: "must be finite for calls with a single answer" }]);
  }
  if (!(deadlineMs > 0)) {
    throw AppError.deadline(`no time left to call ${methodPath(method)}`);
  }
  return { deadline: Date.now() + Math.min(deadlineMs, MAX_DEADLINE_MS) };
}

function toMetadata({ metadata: entries = {}, waitForReady = false }: CallOptions): Metadata {
  const metadata = new Metadata({ waitForReady });
  for (const [key, value] of Object.entries(entries)) {
    metadata.set(key, value);
  }
  return metadata;
}
