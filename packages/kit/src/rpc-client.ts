import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { AppError } from "./errors.ts";
import type { Metrics } from "./metrics.ts";
import { type ClientCall, openClientCall } from "./rpc-client-call.ts";
import { methodDefinition } from "./rpc-definition.ts";
import type { AnyMessage } from "./rpc-handlers.ts";
import { rpcTarget } from "./rpc-target.ts";
import { type CallOptions, MAX_MESSAGE_BYTES, type RpcClient } from "./rpc-types.ts";
import { writeAll } from "./stream-write.ts";

/** Options of `createRpcClient`. */
export type RpcClientOptions<S extends DescService> = {
  /** `host:port`, several by comma, or a gRPC target (`dns:///…`, `ipv4:…`). Calls go round robin over all of them. */
  readonly address: string;
  /** How long a call waits for its end unless it says otherwise, in milliseconds. There is no call without a deadline. */
  readonly defaultDeadlineMs: number;
  /** Methods that only read: sent again, up to 4 times in all, when the peer was UNAVAILABLE. Others never are. */
  readonly retryReads?: readonly (keyof S["method"] & string)[];
  /** Counts calls here when given. */
  readonly metrics?: Metrics;
};

/** A typed client. Every failure is an AppError with the kind, reason and details the server gave it. */
export function createRpcClient<S extends DescService>(service: S, options: RpcClientOptions<S>): RpcClient<S> {
  if (!(options.defaultDeadlineMs > 0) || !Number.isFinite(options.defaultDeadlineMs)) {
    throw new TypeError("defaultDeadlineMs must be a positive number of milliseconds");
  }
  const client = new Client(rpcTarget(options.address), credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify(serviceConfig(service, options.retryReads ?? [])),
    "grpc.service_config_disable_resolution": 1,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2000,
    "grpc.dns_min_time_between_resolutions_ms": 1000,
    "grpc.enable_http_proxy": 0,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_channelz": 0,
    "grpc.enable_retries": (options.retryReads ?? []).length > 0 ? 1 : 0,
  });
  const { defaultDeadlineMs, metrics } = options;
  const caller: Caller = { client, defaultDeadlineMs, metrics };
  const methods = service.methods.map((method) => [method.localName, callerOf(caller, method)] as const);
  const made: unknown = { ...Object.fromEntries(methods), close: () => client.close() };
  // Built method by method from the same descriptor the type is computed from; TypeScript cannot follow the loop.
  return made as RpcClient<S>;
}

type Caller = { readonly client: Client; readonly defaultDeadlineMs: number; readonly metrics: Metrics | undefined };

function callerOf(caller: Caller, method: DescMethod): unknown {
  switch (method.methodKind) {
    case "unary":
      return (request: AnyMessage, options?: CallOptions) => callOnce(caller, method, request, options);
    case "client_streaming":
      return (requests: AsyncIterable<AnyMessage>, options?: CallOptions) =>
        sendMany(caller, method, requests, options);
    case "server_streaming":
      return (request: AnyMessage, options?: CallOptions) => receiveMany(caller, method, request, options);
    case "bidi_streaming":
      return (requests: AsyncIterable<AnyMessage>, options?: CallOptions) => talk(caller, method, requests, options);
  }
}

async function callOnce(caller: Caller, method: DescMethod, request: AnyMessage, options: CallOptions = {}) {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  return settle(caller, method, options, (scope, done) =>
    caller.client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      scope.metadata,
      scope.grpcOptions,
      done,
    ),
  );
}

async function sendMany(
  caller: Caller,
  method: DescMethod,
  requests: AsyncIterable<AnyMessage>,
  options: CallOptions = {},
) {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  return settle(caller, method, options, (scope, done) => {
    const call = caller.client.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      scope.metadata,
      scope.grpcOptions,
      done,
    );
    pump(requests, call, scope);
    return call;
  });
}

type Done = (error: ServiceError | null, value?: AnyMessage) => void;
type Cancellable = { cancel(): void };

function settle(
  caller: Caller,
  method: DescMethod,
  options: CallOptions,
  start: (scope: ClientCall, done: Done) => Cancellable,
): Promise<AnyMessage> {
  const scope = openClientCall(caller, method, options);
  return new Promise((resolve, reject) => {
    const done: Done = (error, value) => {
      if (!error && value) {
        scope.finish(status.OK);
        resolve(value);
      } else {
        reject(scope.fail(error ?? new Error("no message received")));
      }
    };
    scope.start(() => start(scope, done));
  }).then(
    (value) => value as AnyMessage,
    (error: unknown) => {
      throw error instanceof AppError ? error : scope.fail(error);
    },
  );
}

async function* receiveMany(caller: Caller, method: DescMethod, request: AnyMessage, options: CallOptions = {}) {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  const scope = openClientCall(caller, method, options);
  yield* received(scope, () =>
    caller.client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      scope.metadata,
      scope.grpcOptions,
    ),
  );
}

async function* talk(
  caller: Caller,
  method: DescMethod,
  requests: AsyncIterable<AnyMessage>,
  options: CallOptions = {},
) {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  const scope = openClientCall(caller, method, options);
  yield* received(scope, () => {
    const { metadata, grpcOptions } = scope;
    const call = caller.client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
      grpcOptions,
    );
    pump(requests, call, scope);
    return call;
  });
}

type Receiving = AsyncIterable<AnyMessage> &
  Cancellable & { on(event: "error", listener: (error: Error) => void): unknown };

/** Yields what arrives; reading is paused while the consumer is busy. Leaving the loop early cancels the call. */
async function* received(scope: ClientCall, start: () => Receiving): AsyncGenerator<AnyMessage> {
  let call: Receiving | undefined;
  try {
    call = scope.start(start);
    // The iterator reports errors; without a listener one that comes after the last read would end the process.
    call.on("error", () => undefined);
    yield* call;
    scope.finish(status.OK);
  } catch (error) {
    throw scope.fail(error);
  } finally {
    call?.cancel();
    scope.finish(status.CANCELLED);
  }
}

type Sending = Parameters<typeof writeAll<AnyMessage>>[1] & Cancellable & { end(): unknown };

/** Sends a stream of requests until it ends or the call does; an error of the source cancels the call with that error. */
function pump(requests: AsyncIterable<AnyMessage>, call: Sending, scope: ClientCall): void {
  writeAll(requests, call, scope.ended).then(
    () => call.end(),
    (error: unknown) => {
      if (!scope.ended.aborted) {
        scope.sourceFailed(error);
        call.cancel();
      }
    },
  );
}

function serviceConfig(service: DescService, retryReads: readonly string[]) {
  const name = retryReads.map((localName) => {
    const method = service.method[localName];
    if (!method) {
      throw new TypeError(`retryReads: ${service.typeName} has no method ${localName}`);
    }
    return { service: service.typeName, method: method.name };
  });
  const retryPolicy = {
    maxAttempts: 4,
    initialBackoff: "0.1s",
    maxBackoff: "2s",
    backoffMultiplier: 2,
    retryableStatusCodes: ["UNAVAILABLE"],
  };
  return {
    loadBalancingConfig: [{ round_robin: {} }],
    methodConfig: name.length > 0 ? [{ name, retryPolicy }] : [],
  };
}
