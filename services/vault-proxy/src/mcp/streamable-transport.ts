/**
 * MCP's Streamable HTTP: one POST per message, answered by JSON or by a stream that ends with the answer.
 * https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#streamable-http
 *
 * H1 nothing is sent twice. H2 redirects are never followed. H3 what a server asks of us is refused, but for `ping`.
 * H4 an answer that is cut is taken up again by `Last-Event-ID` where the server gave its events ids, at most
 * `MCP_LIMITS.resumes` times in a row without a new event; that sends nothing again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Dispatcher } from "undici";
import { NotConnected } from "../net/vetted-agent.ts";
import type { JsonObject, RpcMessage } from "./json-rpc.ts";
import { parseRpc } from "./json-rpc.ts";
import { McpError, RpcError, statusError } from "./mcp-error.ts";
import { type Cursor, discard, eventsOf, mediaTypeOf, messagesOf } from "./read-answer.ts";
import {
  type Authorized,
  MCP_LIMITS,
  type OnAuthorized,
  type RpcRequest,
  type Transport,
  type TransportOptions,
} from "./transport.ts";

const METHOD_NOT_FOUND = -32_601;
const SESSION_ID = /^[\x21-\x7e]{1,512}$/;

/** A transport to one server; it keeps the session id that the server gives. */
export function streamableTransport(options: TransportOptions): Transport {
  const { dispatcher, url } = options;
  const origin = url.origin;
  const path = `${url.pathname}${url.search}`;
  let sessionId: string | undefined;
  let version: string | undefined;

  const headers = (accept: string, authorized: Authorized | undefined): Record<string, string> => {
    return {
      accept,
      ...(authorized === undefined ? {} : { authorization: authorized.header }),
      ...(sessionId === undefined ? {} : { "mcp-session-id": sessionId }),
      ...(version === undefined ? {} : { "mcp-protocol-version": version }),
    };
  };
  const post = async (message: object, signal: AbortSignal, onAuthorized?: OnAuthorized) => {
    const authorized = await options.authorization();
    await onAuthorized?.(authorized);
    const answer = await ask(dispatcher, {
      origin,
      path,
      method: "POST",
      headers: { ...headers("application/json, text/event-stream", authorized), "content-type": "application/json" },
      body: JSON.stringify(message),
      signal,
    });
    const given = answer.headers["mcp-session-id"];
    if (sessionId === undefined && typeof given === "string" && SESSION_ID.test(given)) sessionId = given;
    if (answer.statusCode >= 200 && answer.statusCode < 300) return answer;
    discard(answer.body);
    throw statusError(answer.statusCode, sessionId !== undefined, authorized?.name);
  };
  const send = async (message: object, signal: AbortSignal) => discard((await post(message, signal)).body);
  const received = (message: RpcMessage) => {
    if (message.kind !== "request") return options.onMessage(message);
    const { id, method } = message;
    const answer = method === "ping" ? { result: {} } : { error: { code: METHOD_NOT_FOUND, message: "not served" } };
    send({ jsonrpc: "2.0", id, ...answer }, AbortSignal.timeout(MCP_LIMITS.requestMs)).catch(() => undefined);
  };

  /** H4. Rejects when the server will not go on; a server that cannot be reached is asked again. */
  const resume = async ({ id, retryMs }: Cursor, resumes: number, signal: AbortSignal) => {
    for (let attempt = resumes; ; attempt += 1) {
      const waitMs = Math.min(retryMs ?? MCP_LIMITS.resumeAfterMs * (attempt + 1), MCP_LIMITS.resumeWaitMs);
      await sleep(waitMs, undefined, { signal });
      const asked = ask(dispatcher, {
        origin,
        path,
        method: "GET",
        headers: { ...headers("text/event-stream", await options.authorization()), "last-event-id": id },
        signal,
      });
      const answer = await asked.catch((error: unknown) => {
        if (!(error instanceof McpError) || error.kind !== "connection") throw error;
        return undefined;
      });
      if (answer?.statusCode === 200 && mediaTypeOf(answer) === "text/event-stream") return answer;
      if (answer) discard(answer.body);
      if (answer && answer.statusCode < 500) throw new Error("the server does not take its answer up again");
      if (attempt >= MCP_LIMITS.resumes) throw new Error("the answer could not be taken up again");
    }
  };

  return {
    async request(request: RpcRequest, signal: AbortSignal, onAuthorized): Promise<JsonObject> {
      let answer = await post({ jsonrpc: "2.0", ...request }, signal, onAuthorized);
      let cursor: Cursor | undefined;
      for (let resumes = 0; ; resumes += 1) {
        const from = cursor?.id;
        let lost = new McpError("connection", "the server ended its answer before the result came", { reached: true });
        try {
          for await (const message of messagesOf(answer, (next) => (cursor = next))) {
            if (message.kind === "result" && message.id === request.id) return message.result;
            if (message.kind === "error" && message.id === request.id) {
              throw new RpcError(message.code, message.message);
            }
            received(message);
          }
        } catch (error) {
          if (error instanceof RpcError) throw error;
          lost = lostAnswer(error, signal);
        }
        // Progress counts from new.
        if (cursor && cursor.id !== from) resumes = 0;
        if (!cursor || lost.kind !== "connection" || resumes >= MCP_LIMITS.resumes) throw lost;
        answer = await resume(cursor, resumes, signal).catch(() => {
          throw lost;
        });
      }
    },
    notify: (method, params, signal) => send({ jsonrpc: "2.0", method, params }, signal),
    agreed(protocolVersion) {
      version = protocolVersion;
    },
    async listen(signal) {
      const answer = await ask(dispatcher, {
        origin,
        path,
        method: "GET",
        headers: headers("text/event-stream", await options.authorization()),
        signal,
      });
      if (answer.statusCode !== 200 || mediaTypeOf(answer) !== "text/event-stream") return discard(answer.body);
      for await (const { data } of eventsOf(answer.body, Number.POSITIVE_INFINITY)) {
        for (const message of parseRpc(data) ?? []) received(message);
      }
    },
    async close() {
      if (sessionId === undefined) return;
      const signal = AbortSignal.timeout(2000);
      const remove = async () => {
        const sent = headers("application/json", await options.authorization());
        discard((await ask(dispatcher, { origin, path, method: "DELETE", headers: sent, signal })).body);
      };
      await remove().catch(() => undefined);
    },
  };
}

/** Sends one HTTP request; what fails becomes an McpError that says whether it can have been sent. */
export async function ask(
  dispatcher: Dispatcher,
  request: Dispatcher.RequestOptions,
): Promise<Dispatcher.ResponseData> {
  try {
    return await dispatcher.request({ ...request, headersTimeout: 0, bodyTimeout: 0 });
  } catch (error) {
    if (error instanceof NotConnected) throw new McpError("connection", error.message, { reached: false });
    throw lostAnswer(error, request.signal instanceof AbortSignal ? request.signal : undefined);
  }
}

function lostAnswer(error: unknown, signal: AbortSignal | undefined): McpError {
  if (error instanceof McpError) return error;
  if (signal?.aborted) return new McpError("stopped", "the request was stopped", { reached: true });
  const code = error instanceof Error && "code" in error ? String(error.code) : "connection lost";
  return new McpError("connection", `the connection to the server failed (${code})`, { reached: true });
}
