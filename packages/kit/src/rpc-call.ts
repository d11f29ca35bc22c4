import type { Metadata, ServerErrorResponse, StatusObject } from "@grpc/grpc-js";
import { AppError, toAppError } from "./errors.ts";
import { newId } from "./ids.ts";
import type { Logger } from "./logger.ts";
import type { RpcContext } from "./rpc-types.ts";

/** The part of a grpc-js server call that all four kinds share. */
export type ServerCall = {
  readonly metadata: Metadata;
  readonly cancelled: boolean;
  getDeadline(): Date | number;
  getPeer(): string;
  on(event: "cancelled", listener: () => void): unknown;
};

/** A call's context, and what happens when it ends from outside. */
export type CallScope = {
  readonly context: RpcContext;
  /** Told when the call's signal aborts. */
  onAbort: ((reason: AppError) => void) | undefined;
  /**
   * Frees the listeners; call when the handler is done. After `answered` nothing aborts the signal any more: an abort of
   * every call when its stream closes would cost more than the rest of the layer.
   */
  dispose(end?: "answered"): void;
};

/** Made once: an error's stack costs 20 us. */
const CANCELLED = AppError.cancelled("the caller cancelled the call");

/** Builds the context of a call; `stopSignal` is the shutdown signal that applies to this kind of call. */
export function openCall(call: ServerCall, path: string, logger: Logger, stopSignal: AbortSignal): CallScope {
  const metadata = textMetadata(call.metadata);
  const requestId = cleanRequestId(metadata["x-request-id"]) ?? newId("req");
  const controller = new AbortController();
  const deadline = Number(call.getDeadline());
  let isAnswered = false;
  const abort = (reason: AppError) => {
    if (isAnswered || controller.signal.aborted) {
      return; // grpc-js says "cancelled" of every call when its stream closes
    }
    controller.abort(reason);
    scope.onAbort?.(reason);
  };
  const onStop = () => abort(toAppError(stopSignal.reason));

  const traceparent = metadata.traceparent;
  const context: RpcContext = {
    signal: controller.signal,
    ...(Number.isFinite(deadline) ? { deadlineMs: deadline } : {}),
    metadata,
    requestId,
    logger: logger.child({ method: path, request_id: requestId, ...(traceparent ? { traceparent } : {}) }),
  };
  const scope: CallScope = {
    context,
    onAbort: undefined,
    dispose(end) {
      isAnswered = end === "answered";
      stopSignal.removeEventListener("abort", onStop);
    },
  };
  call.on("cancelled", () => {
    const late = Number.isFinite(deadline) && Date.now() >= deadline - 1;
    abort(late ? AppError.deadline("the caller's deadline passed") : CANCELLED);
  });
  if (stopSignal.aborted) {
    onStop();
  } else {
    stopSignal.addEventListener("abort", onStop, { once: true });
  }
  return scope;
}

/** What a failed call answers: the reason its signal aborted with, if it did, else what the handler threw. */
export function failureOf(thrown: unknown, signal: AbortSignal): AppError {
  return signal.aborted ? toAppError(signal.reason) : toAppError(thrown);
}

/** A status in the form grpc-js wants errors in. */
export function asServerError(status: StatusObject): ServerErrorResponse {
  return Object.assign(new Error(status.details), status);
}

function textMetadata(metadata: Metadata): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [key, value] of Object.entries(metadata.getMap())) {
    if (typeof value === "string") {
      result[key] = value;
    }
  }
  return result;
}

/** A caller's request id goes into logs and answers, so only harmless ones are taken over. */
function cleanRequestId(id: string | undefined): string | undefined {
  return id !== undefined && /^[A-Za-z0-9._:-]{1,128}$/.test(id) ? id : undefined;
}
