import { remainingMs } from "./deadline.ts";
import type { CallOptions, RpcContext } from "./rpc-types.ts";

/**
 * Call options for a call made on behalf of another: same signal, the remaining time less 5 %, the same request id
 * and trace context. Without a deadline in the context the client's default applies.
 */
export function forwardCall(context: RpcContext): CallOptions {
  const deadlineMs = remainingMs(context.deadlineMs);
  const { traceparent, tracestate } = context.metadata;
  return {
    signal: context.signal,
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    metadata: {
      "x-request-id": context.requestId,
      ...(traceparent ? { traceparent } : {}),
      ...(tracestate ? { tracestate } : {}),
    },
  };
}
