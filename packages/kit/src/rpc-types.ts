import type { DescMessage, DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Encoded } from "./encoded.ts";
import type { Logger } from "./logger.ts";

/** The largest message either side accepts or sends, in bytes: 8 MiB. */
export const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;

/** What a handler knows about its call. */
export type RpcContext = {
  /** Aborts when the caller cancels or goes away, at the deadline, or at shutdown; its reason is an AppError. */
  readonly signal: AbortSignal;
  /** When the caller stops waiting, in milliseconds since 1970; undefined = never. */
  readonly deadlineMs?: number;
  /** The call's text metadata, keys in lower case; binary (`-bin`) entries are left out. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The caller's `x-request-id`, or a new one. */
  readonly requestId: string;
  /** Logs with the method and request id on each line. */
  readonly logger: Logger;
};

/** What a handler answers: a message's fields, or its bytes where they are at hand. */
export type Answer<O extends DescMessage> = MessageInitShape<O> | Encoded<O>;

/** Handler of a unary method. */
export type UnaryHandler<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  context: RpcContext,
) => Promise<Answer<O>>;
/** Handler of a server-streaming method; the next value is asked for only when the caller can take it. */
export type ServerStreamHandler<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  context: RpcContext,
) => AsyncIterable<Answer<O>>;
/** Handler of a client-streaming method. */
export type ClientStreamHandler<I extends DescMessage, O extends DescMessage> = (
  requests: AsyncIterable<MessageShape<I>>,
  context: RpcContext,
) => Promise<MessageInitShape<O>>;
/** Handler of a bidirectional method. */
export type BidiHandler<I extends DescMessage, O extends DescMessage> = (
  requests: AsyncIterable<MessageShape<I>>,
  context: RpcContext,
) => AsyncIterable<MessageInitShape<O>>;

/** The handler type of one method, by its kind. */
export type MethodHandler<M extends DescMethod> = M extends DescMethod & { methodKind: "unary" }
  ? UnaryHandler<M["input"], M["output"]>
  : M extends DescMethod & { methodKind: "server_streaming" }
    ? ServerStreamHandler<M["input"], M["output"]>
    : M extends DescMethod & { methodKind: "client_streaming" }
      ? ClientStreamHandler<M["input"], M["output"]>
      : M extends DescMethod & { methodKind: "bidi_streaming" }
        ? BidiHandler<M["input"], M["output"]>
        : never;

/** Handlers of a service by method name (`getEvents` for `GetEvents`). Methods left out answer UNIMPLEMENTED. */
export type ServiceImpl<S extends DescService> = { readonly [K in keyof S["method"]]?: MethodHandler<S["method"][K]> };

/** Options of one call. */
export type CallOptions = {
  /** Cancels the call when it aborts. */
  readonly signal?: AbortSignal;
  /** How long to wait for the end of the call, in milliseconds; `Infinity` only for streams that end otherwise. */
  readonly deadlineMs?: number;
  /** Text metadata to send, for example `x-request-id` and `traceparent`. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Wait for a connection until the deadline instead of failing UNAVAILABLE while there is none; default false. */
  readonly waitForReady?: boolean;
};

/** The client's form of one method, by its kind. Errors are AppErrors. */
export type ClientMethod<M extends DescMethod> = M extends DescMethod & { methodKind: "unary" }
  ? (request: MessageInitShape<M["input"]>, options?: CallOptions) => Promise<MessageShape<M["output"]>>
  : M extends DescMethod & { methodKind: "server_streaming" }
    ? (request: MessageInitShape<M["input"]>, options?: CallOptions) => AsyncIterable<MessageShape<M["output"]>>
    : M extends DescMethod & { methodKind: "client_streaming" }
      ? (
          requests: AsyncIterable<MessageInitShape<M["input"]>>,
          options?: CallOptions,
        ) => Promise<MessageShape<M["output"]>>
      : M extends DescMethod & { methodKind: "bidi_streaming" }
        ? (
            requests: AsyncIterable<MessageInitShape<M["input"]>>,
            options?: CallOptions,
          ) => AsyncIterable<MessageShape<M["output"]>>
        : never;

/** A client of a service: its methods and `close`. A stream call starts when its first value is asked for. */
export type RpcClient<S extends DescService> = {
  readonly [K in keyof S["method"]]: ClientMethod<S["method"][K]>;
} & {
  /** Closes the connections; running calls fail. */
  close(): void;
};
