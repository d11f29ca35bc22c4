/**
 * One MCP session with one server on behalf of one of ours: handshake, tools, calls, notifications.
 *
 * M1 the handshake is made once and shared; a session the server forgot is made anew once per request, because the
 * refusal proves that nothing was done. M2 the tool list is kept until the server says it changed, or for a minute
 * where it never says, or where the stream that it would say it on has ended. M3 servers may tell of a call's progress,
 * which keeps idle connections open and changes nothing about the call's limit.
 */
import { asObject, type JsonObject, type RpcMessage } from "./json-rpc.ts";
import { McpError, RpcError } from "./mcp-error.ts";
import { sseTransport } from "./sse-transport.ts";
import { streamableTransport } from "./streamable-transport.ts";
import { MCP_LIMITS, type OnAuthorized, type RpcRequest, type Transport, type TransportOptions } from "./transport.ts";

/** A client of one server. */
export type McpClient = {
  /** Tools as the server lists them, unchecked; at most `MAX_TOOLS`. */
  listTools(signal: AbortSignal): Promise<readonly unknown[]>;
  /** Calls a tool once. Rejects with McpError or RpcError. */
  callTool(name: string, input: JsonObject, options: CallOptions): Promise<JsonObject>;
  /** Only the handshake; what it answered. */
  initialize(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
};

/** How one call is bounded and stopped. */
export type CallOptions = {
  readonly signal: AbortSignal;
  /** Told which credential goes out with it. */
  readonly onAuthorized?: OnAuthorized;
};

const PROTOCOL_VERSION = "2025-11-25";
/** Versions whose messages are the ones this client speaks. */
const SPOKEN = new Set(["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]);
const CLIENT_INFO = { name: "manyhands", version: "1" };
const MAX_TOOLS = 512;
const MAX_PAGES = 32;
const KEPT_WITHOUT_NOTICE_MS = 60_000;

type Options = Omit<TransportOptions, "onMessage"> & { readonly nowMs: () => number };
type Session = { readonly transport: Transport; readonly saysChanges: boolean };

/** A client; nothing is sent before the first use. */
export function mcpClient(options: Options): McpClient {
  let opening: Promise<Session> | undefined;
  let nextId = 1;
  let tools: { readonly list: readonly unknown[]; readonly atMs: number } | undefined;
  let changes = 0;
  let listening = false;
  const ending = new AbortController();

  const onMessage = (message: RpcMessage) => {
    if (message.kind !== "notification") return;
    if (message.method === "notifications/tools/list_changed") {
      changes += 1;
      tools = undefined;
    }
  };
  const listen = (transport: Transport) => {
    listening = true;
    transport
      .listen(ending.signal)
      .catch(() => undefined)
      .finally(() => {
        listening = false;
      });
  };
  const hello = async (transport: Transport, signal: AbortSignal): Promise<Session> => {
    const params = { protocolVersion: PROTOCOL_VERSION, capabilities: {}, clientInfo: CLIENT_INFO };
    nextId += 1;
    const answer = await transport.request({ id: nextId, method: "initialize", params }, signal);
    const { protocolVersion } = answer;
    if (typeof protocolVersion !== "string" || !SPOKEN.has(protocolVersion)) {
      throw new McpError("protocol", "the server speaks no version of the protocol that is known here", {
        reached: false,
      });
    }
    transport.agreed(protocolVersion);
    await transport.notify("notifications/initialized", {}, signal);
    const saysChanges = asObject(asObject(answer.capabilities)?.tools)?.listChanged === true;
    if (saysChanges) listen(transport);
    return { transport, saysChanges };
  };
  const open = async (): Promise<Session> => {
    const signal = AbortSignal.any([AbortSignal.timeout(MCP_LIMITS.requestMs), ending.signal]);
    const transport = { ...options, onMessage };
    try {
      return await hello(streamableTransport(transport), signal);
    } catch (error) {
      if (!(error instanceof McpError) || error.kind !== "unsupported") throw unreached(error);
      const older = await sseTransport(transport).catch(() => Promise.reject(unreached(error)));
      return hello(older, signal).catch(async (thrown: unknown) => {
        await older.close();
        throw unreached(thrown);
      });
    }
  };
  const session = (): Promise<Session> => {
    opening ??= open().catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  };
  const request = async (
    { id, method, params }: RpcRequest,
    signal: AbortSignal,
    onAuthorized?: OnAuthorized,
  ): Promise<JsonObject> => {
    const current = session();
    const { transport } = await current;
    try {
      return await transport.request({ id, method, params }, signal, onAuthorized);
    } catch (error) {
      // The connection of the older transport, or the server's session, is gone; the next use makes another.
      const isGone = error instanceof McpError && (error.kind === "session" || error.kind === "connection");
      if (isGone && opening === current) opening = undefined;
      if (!(error instanceof McpError) || error.kind !== "session") throw error;
      const { transport: anew } = await session();
      return anew.request({ id, method, params }, signal, onAuthorized);
    }
  };
  const take = () => {
    nextId += 1;
    return nextId;
  };

  return {
    async initialize() {
      await session();
    },
    async listTools(signal) {
      const { saysChanges, transport } = await session();
      const isFresh = tools && (listening || options.nowMs() - tools.atMs < KEPT_WITHOUT_NOTICE_MS);
      if (tools && isFresh) return tools.list;
      if (saysChanges && !listening) listen(transport);
      const before = changes;
      const list: unknown[] = [];
      let cursor: unknown;
      for (let page = 0; page < MAX_PAGES && list.length < MAX_TOOLS; page += 1) {
        const params = cursor === undefined ? {} : { cursor };
        const answer = await request({ id: take(), method: "tools/list", params }, signal);
        if (Array.isArray(answer.tools)) list.push(...answer.tools.slice(0, MAX_TOOLS - list.length));
        cursor = typeof answer.nextCursor === "string" && answer.nextCursor !== "" ? answer.nextCursor : undefined;
        if (cursor === undefined) break;
      }
      if (before === changes) tools = { list, atMs: options.nowMs() };
      return list;
    },
    async callTool(name, input, { signal, onAuthorized }) {
      const id = take();
      const stop = () => {
        const params = { requestId: id, reason: "stopped" };
        const told = AbortSignal.timeout(2000);
        opening
          ?.then(({ transport }) => transport.notify("notifications/cancelled", params, told))
          .catch(() => undefined);
      };
      signal.addEventListener("abort", stop, { once: true });
      try {
        const params = { name, arguments: input, _meta: { progressToken: id } };
        return await request({ id, method: "tools/call", params }, signal, onAuthorized);
      } finally {
        signal.removeEventListener("abort", stop);
      }
    },
    async close() {
      const current = opening;
      opening = undefined;
      ending.abort();
      if (current) await current.then(({ transport }) => transport.close()).catch(() => undefined);
    },
  };
}

/** A handshake has no effect: whatever went wrong in it, no tool was called. */
function unreached(error: unknown): unknown {
  if (error instanceof RpcError) {
    return new McpError("protocol", `the server refused the handshake (${error.code})`, { reached: false });
  }
  if (!(error instanceof McpError)) return error;
  const { status, sentWith } = error;
  return new McpError(error.kind, error.message, { reached: false, status, sentWith });
}
