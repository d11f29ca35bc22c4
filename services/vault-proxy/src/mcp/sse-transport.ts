/**
 * MCP's older HTTP+SSE transport, for servers that have nothing newer: one stream that says where to post and carries
 * every answer. https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
 */
import type { JsonObject, RpcMessage } from "./json-rpc.ts";
import { parseRpc } from "./json-rpc.ts";
import { McpError, RpcError, statusError } from "./mcp-error.ts";
import { discard, eventsOf, mediaTypeOf } from "./read-answer.ts";
import { ask } from "./streamable-transport.ts";
import {
  type Authorized,
  MCP_LIMITS,
  type OnAuthorized,
  type RpcRequest,
  type Transport,
  type TransportOptions,
} from "./transport.ts";

type Waiting = { readonly resolve: (result: JsonObject) => void; readonly reject: (error: Error) => void };

/** Opens the stream and waits for the address to post to; rejects with McpError. */
export async function sseTransport(options: TransportOptions): Promise<Transport> {
  const { dispatcher, url } = options;
  const ending = new AbortController();
  const waiting = new Map<number, Waiting>();
  const endpoint = Promise.withResolvers<URL>();
  endpoint.promise.catch(() => undefined);
  const headers = (authorized: Authorized | undefined): Record<string, string> =>
    authorized === undefined ? {} : { authorization: authorized.header };
  const received = (message: RpcMessage) => {
    if (message.kind === "result") return waiting.get(message.id)?.resolve(message.result);
    if (message.kind === "error") return waiting.get(message.id)?.reject(new RpcError(message.code, message.message));
    options.onMessage(message);
  };

  const opened = await options.authorization();
  const late = setTimeout(() => ending.abort(), MCP_LIMITS.requestMs);
  const stream = await ask(dispatcher, {
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    method: "GET",
    headers: { accept: "text/event-stream", ...headers(opened) },
    signal: ending.signal,
  }).finally(() => clearTimeout(late));
  if (stream.statusCode !== 200 || mediaTypeOf(stream) !== "text/event-stream") {
    discard(stream.body);
    if (stream.statusCode !== 200) throw statusError(stream.statusCode, false, opened?.name);
    throw new McpError("unsupported", "the server offers no event stream", { reached: false, status: 200 });
  }
  const reading = (async () => {
    for await (const { event, data } of eventsOf(stream.body, Number.POSITIVE_INFINITY)) {
      if (event === "endpoint") endpoint.resolve(sameOrigin(url, data));
      else for (const message of parseRpc(data) ?? []) received(message);
    }
  })().catch(() => undefined);
  const ended = reading.then(() => {
    const error = new McpError("connection", "the server ended its stream", { reached: true });
    endpoint.reject(error);
    for (const one of waiting.values()) one.reject(error);
    waiting.clear();
  });
  const post = async (message: object, signal: AbortSignal, onAuthorized?: OnAuthorized) => {
    const to = await endpoint.promise;
    const authorized = await options.authorization();
    await onAuthorized?.(authorized);
    const answer = await ask(dispatcher, {
      origin: to.origin,
      path: `${to.pathname}${to.search}`,
      method: "POST",
      headers: { ...headers(authorized), "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify(message),
      signal,
    });
    discard(answer.body);
    if (answer.statusCode < 200 || answer.statusCode >= 300)
      throw statusError(answer.statusCode, false, authorized?.name);
  };

  return {
    async request(request: RpcRequest, signal: AbortSignal, onAuthorized) {
      const { promise, resolve, reject } = Promise.withResolvers<JsonObject>();
      promise.catch(() => undefined);
      const stop = () => reject(new McpError("stopped", "the request was stopped", { reached: true }));
      signal.addEventListener("abort", stop, { once: true });
      waiting.set(request.id, { resolve, reject });
      try {
        await post({ jsonrpc: "2.0", ...request }, signal, onAuthorized);
        return await promise;
      } finally {
        waiting.delete(request.id);
        signal.removeEventListener("abort", stop);
      }
    },
    notify: (method, params, signal) => post({ jsonrpc: "2.0", method, params }, signal),
    agreed: () => undefined,
    async listen(signal) {
      signal.addEventListener("abort", () => ending.abort(), { once: true });
      await ended;
    },
    async close() {
      ending.abort();
      await ended;
    },
  };
}

/** The server chooses the path; never another server, which would get the credential. */
function sameOrigin(base: URL, text: string): URL {
  if (!URL.canParse(text, base.href))
    throw new McpError("protocol", "the server named no endpoint", { reached: false });
  const url = new URL(text, base.href);
  if (url.origin === base.origin) return url;
  throw new McpError("protocol", "the server named an endpoint elsewhere", { reached: false });
}
