import type { DescMethod } from "@bufbuild/protobuf";
import {
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
  type UntypedHandleCall,
} from "@grpc/grpc-js";
import { ERROR_TABLE } from "./error-table.ts";
import type { AppError } from "./errors.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import { asServerError, type CallScope, failureOf, openCall, type ServerCall } from "./rpc-call.ts";
import { methodPath } from "./rpc-definition.ts";
import type { AnyMessage, ErasedHandler } from "./rpc-handlers.ts";
import { toGrpcStatus } from "./rpc-status.ts";
import type { RpcContext } from "./rpc-types.ts";
import { writeAll } from "./stream-write.ts";

/** What every bound handler needs. */
export type BindOptions = {
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Fires when the service begins to stop: ends streams. */
  readonly stopSignal: AbortSignal;
  /** Fires when the drain deadline has passed: ends everything. */
  readonly killSignal: AbortSignal;
};

type Once = ServerUnaryCall<AnyMessage, AnyMessage>;
type Reader = ServerReadableStream<AnyMessage, AnyMessage>;
type Writer = ServerWritableStream<AnyMessage, AnyMessage>;
type Duplex = ServerDuplexStream<AnyMessage, AnyMessage>;

/** Turns one of our handlers into a grpc-js handler: context, race against the end, status, metrics, log line. */
export function bindHandler(method: DescMethod, handler: ErasedHandler, options: BindOptions): UntypedHandleCall {
  if (handler.answers === "once" && handler.reads === "once") {
    return (call: Once, reply: sendUnaryData<AnyMessage>) =>
      void serveOnce(method, call, reply, options, (context) => handler.run(call.request, context));
  }
  if (handler.answers === "once" && handler.reads === "stream") {
    return (call: Reader, reply: sendUnaryData<AnyMessage>) =>
      void serveOnce(method, call, reply, options, (context) => handler.run(call, context));
  }
  if (handler.answers === "stream" && handler.reads === "once") {
    return (call: Writer) => void serveStream(method, call, options, (context) => handler.run(call.request, context));
  }
  if (handler.answers === "stream" && handler.reads === "stream") {
    return (call: Duplex) => void serveStream(method, call, options, (context) => handler.run(call, context));
  }
  throw new TypeError(`${methodPath(method)}: a handler of no known kind`);
}

async function serveOnce(
  method: DescMethod,
  call: ServerCall,
  reply: sendUnaryData<AnyMessage>,
  options: BindOptions,
  run: (context: RpcContext) => Promise<AnyMessage>,
): Promise<void> {
  await serve(
    method,
    call,
    options,
    options.killSignal,
    async (scope) => reply(null, await untilAborted(scope, run)),
    (error) => reply(asServerError(toGrpcStatus(error))),
  );
}

/** The handler's answer, or a rejection with the reason of the abort if that comes first. */
function untilAborted(scope: CallScope, run: (context: RpcContext) => Promise<AnyMessage>): Promise<AnyMessage> {
  const { context } = scope;
  return new Promise((resolve, reject) => {
    if (context.signal.aborted) {
      reject(context.signal.reason);
      return;
    }
    scope.onAbort = reject;
    run(context).then(resolve, reject);
  });
}

async function serveStream(
  method: DescMethod,
  call: Writer | Duplex,
  options: BindOptions,
  run: (context: RpcContext) => AsyncIterable<AnyMessage>,
): Promise<void> {
  await serve(
    method,
    call,
    options,
    options.stopSignal,
    async ({ context }) => {
      await writeAll(run(context), call, context.signal);
      call.end();
    },
    (error) => call.emit("error", asServerError(toGrpcStatus(error))),
  );
}

async function serve(
  method: DescMethod,
  call: ServerCall,
  options: BindOptions,
  stopSignal: AbortSignal,
  work: (scope: CallScope) => Promise<void>,
  fail: (error: AppError) => void,
): Promise<void> {
  const { metrics, logger } = options;
  const path = methodPath(method);
  const startedMs = performance.now();
  const scope = openCall(call, path, logger, stopSignal);
  let failure: AppError | undefined;
  metrics.rpcRunning.inc({ method: path });
  try {
    await work(scope);
  } catch (thrown) {
    failure = failureOf(thrown, scope.context.signal);
    if (!call.cancelled) {
      fail(failure);
    }
  } finally {
    scope.dispose(method.methodKind === "unary" && !failure ? "answered" : undefined);
    metrics.rpcRunning.dec({ method: path });
  }
  const tookMs = performance.now() - startedMs;
  const peer = call.getPeer();
  setImmediate(() => {
    const code = status[failure ? ERROR_TABLE[failure.kind].grpc : status.OK] ?? "UNKNOWN";
    metrics.rpcServed.inc({ method: path, code });
    metrics.rpcServedSeconds.observe({ method: path, code }, tookMs / 1000);
    logCall(scope.context.logger, code, tookMs, peer, failure);
  }); // the answer goes out first
}

/** One line a call: our bugs as errors with their cause, the rest as it is worth. */
function logCall(logger: Logger, code: string, tookMs: number, peer: string, failure: AppError | undefined): void {
  const fields = { code, took_ms: Math.round(tookMs * 100) / 100, peer };
  if (!failure) {
    logger.debug(fields, "rpc");
  } else if (failure.kind === "internal") {
    logger.error({ ...fields, err: failure }, "rpc");
  } else {
    logger.info({ ...fields, reason: failure.reason, error: failure.message }, "rpc");
  }
}
