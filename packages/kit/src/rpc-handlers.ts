import type { DescMessage, DescMethod, DescService, MessageShape } from "@bufbuild/protobuf";
import { AppError } from "./errors.ts";
import { streamsRequests, streamsResponses } from "./rpc-definition.ts";
import type { RpcContext, ServiceImpl } from "./rpc-types.ts";

/** Any message, where the schema is only known at run time. */
export type AnyMessage = MessageShape<DescMessage>;

/** A handler with its message types forgotten; `implement` is the only maker, so each fits its method. */
export type ErasedHandler =
  | {
      readonly answers: "once";
      readonly reads: "once";
      run(request: AnyMessage, context: RpcContext): Promise<AnyMessage>;
    }
  | {
      readonly answers: "once";
      readonly reads: "stream";
      run(requests: AsyncIterable<AnyMessage>, context: RpcContext): Promise<AnyMessage>;
    }
  | {
      readonly answers: "stream";
      readonly reads: "once";
      run(request: AnyMessage, context: RpcContext): AsyncIterable<AnyMessage>;
    }
  | {
      readonly answers: "stream";
      readonly reads: "stream";
      run(requests: AsyncIterable<AnyMessage>, context: RpcContext): AsyncIterable<AnyMessage>;
    };

/** A service and its handlers, one for every method. */
export type Implemented = {
  readonly service: DescService;
  readonly handlers: ReadonlyMap<DescMethod, ErasedHandler>;
};

/**
 * Binds handlers to a service. Methods without a handler answer UNIMPLEMENTED and say that they are not served yet.
 * A throwing handler answers with its AppError; anything else it throws becomes INTERNAL with an error id.
 */
export function implement<S extends DescService>(service: S, impl: ServiceImpl<S>): Implemented {
  const table = new Map<string, unknown>(Object.entries(impl));
  const handlers = new Map<DescMethod, ErasedHandler>();
  for (const method of service.methods) {
    handlers.set(method, erase(method, table.get(method.localName), impl));
  }
  return { service, handlers };
}

function erase(method: DescMethod, handler: unknown, impl: object): ErasedHandler {
  const shape = {
    answers: streamsResponses(method) ? "stream" : "once",
    reads: streamsRequests(method) ? "stream" : "once",
    run:
      typeof handler === "function"
        ? handler.bind(impl)
        : () => {
            throw AppError.unimplemented(`${method.parent.typeName}/${method.name} is not served yet`);
          },
  };
  // ServiceImpl<S> has tied this handler to this method's kind and messages; a map over all methods cannot say so.
  return shape as ErasedHandler;
}
