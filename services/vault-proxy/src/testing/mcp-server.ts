/** For tests only: a real MCP server of the official SDK, over HTTP, that keeps count of what was done with it. */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import { type EventStore, StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";

/** What a test may choose. */
export type McpServerOptions = {
  /** Which bearer tokens are let in; default everybody. */
  readonly accepts?: (token: string | undefined) => boolean;
  /** `sse` is the older transport. */
  readonly transport?: "streamable" | "sse";
  /** Sees every request first; true when it has answered itself. */
  readonly intercept?: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Adds tools. */
  readonly tools?: (server: McpServer) => void;
  /** Its answers are events with ids, which a client that lost one may ask for. */
  readonly resumable?: boolean;
  /** How long `write` takes after its effect. */
  readonly answerMs?: number;
};

/** A running server. */
export type TestMcpServer = {
  readonly url: string;
  /** What `write` was called with, in order: the side effects. */
  readonly written: string[];
  /** Authorization headers as they came. */
  readonly tokens: (string | undefined)[];
  /** How often the tools were listed. */
  readonly lists: () => number;
  /** How many sessions were opened. */
  readonly sessions: () => number;
  /** Lets calls of `hold` end. */
  release(): void;
  /** How many calls of `hold` wait. */
  readonly holding: () => number;
  /** How many calls of `hold` were cancelled. */
  readonly cancelled: () => number;
  /** Adds a tool to every open session, which tells the clients. */
  addTool(name: string): void;
  /** Cuts every answer that is being given. */
  cut(): void;
  /** `Last-Event-ID` of requests that took an answer up again. */
  readonly resumed: string[];
  /** Forgets all sessions, as a restart does. */
  forget(): void;
  close(): Promise<void>;
};

/** Keeps events in the order in which they came; the SDK's example store sorts those of one millisecond at random. */
function orderedEvents(): EventStore {
  const events: { readonly id: string; readonly stream: string; readonly message: JSONRPCMessage }[] = [];
  return {
    async storeEvent(stream, message) {
      const id = `${stream}_${events.length}`;
      events.push({ id, stream, message });
      return id;
    },
    async replayEventsAfter(lastId, { send }) {
      const last = events.findIndex(({ id }) => id === lastId);
      const stream = events[last]?.stream ?? "";
      const missed = events.slice(last + 1).filter((event) => event.stream === stream);
      for (const { id, message } of missed) await send(id, message);
      return stream;
    },
  };
}

/** Starts one on loopback. */
export async function startMcpServer(options: McpServerOptions = {}): Promise<TestMcpServer> {
  const state = {
    written: [] as string[],
    tokens: [] as (string | undefined)[],
    lists: 0,
    sessions: 0,
    holding: 0,
    cancelled: 0,
    resumed: [] as string[],
  };
  const answering = new Set<ServerResponse>();
  const waiting = new Set<() => void>();
  const extra: string[] = [];
  const open = new Map<string, { transport: StreamableHTTPServerTransport | SSEServerTransport; server: McpServer }>();

  const makeServer = () => {
    state.sessions += 1;
    const server = new McpServer({ name: "test", version: "1.0.0" });
    server.registerTool("echo", { description: "Says it back.", inputSchema: { text: z.string() } }, ({ text }) => ({
      content: [{ type: "text", text }],
    }));
    server.registerTool(
      "write",
      { description: "Has an effect.", inputSchema: { text: z.string() } },
      async ({ text }) => {
        state.written.push(text);
        if (options.answerMs) await new Promise((resolve) => setTimeout(resolve, options.answerMs));
        return { content: [{ type: "text", text: `written ${text}` }] };
      },
    );
    server.registerTool(
      "hold",
      { description: "Waits.", inputSchema: { text: z.string() } },
      async ({ text }, context) => {
        state.written.push(text);
        const { progressToken } = context._meta ?? {};
        if (progressToken !== undefined) {
          const params = { progressToken, progress: 1 };
          await context.sendNotification({ method: "notifications/progress", params });
        }
        await new Promise<void>((resolve) => {
          waiting.add(resolve);
          state.holding += 1;
          context.signal.addEventListener("abort", () => {
            state.cancelled += 1;
            resolve();
          });
        });
        state.holding -= 1;
        return { content: [{ type: "text", text: `held ${text}` }] };
      },
    );
    for (const name of extra) addTo(server, name);
    options.tools?.(server);
    return server;
  };
  const handleStreamable = async (request: IncomingMessage, response: ServerResponse) => {
    const id = String(request.headers["mcp-session-id"] ?? "");
    answering.add(response);
    response.once("close", () => answering.delete(response));
    const { "last-event-id": after } = request.headers;
    if (typeof after === "string") state.resumed.push(after);
    const known = open.get(id)?.transport;
    if (known instanceof StreamableHTTPServerTransport) return known.handleRequest(request, response);
    if (id !== "") return void response.writeHead(404).end();
    const server = makeServer();
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      ...(options.resumable ? { eventStore: orderedEvents() } : {}),
      onsessioninitialized: (session) => void open.set(session, { transport, server }),
    });
    await server.connect(transport);
    await transport.handleRequest(request, response);
  };
  const handleSse = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? "/", "http://x");
    if (request.method === "GET" && url.pathname === "/mcp") {
      const transport = new SSEServerTransport("/messages", response);
      const server = makeServer();
      open.set(transport.sessionId, { transport, server });
      return server.connect(transport);
    }
    const known = open.get(url.searchParams.get("sessionId") ?? "")?.transport;
    if (request.method === "POST" && known instanceof SSEServerTransport)
      return known.handlePostMessage(request, response);
    response.writeHead(405).end();
  };

  const http: Server = createServer((request, response) => {
    const { authorization } = request.headers;
    state.tokens.push(authorization);
    if (options.intercept?.(request, response)) return;
    const token = /^Bearer (.+)$/.exec(authorization ?? "")?.[1];
    if (options.accepts && !options.accepts(token)) return void response.writeHead(401).end("no");
    tap(request, (text) => {
      if (text.includes('"tools/list"')) state.lists += 1;
    });
    const handle = options.transport === "sse" ? handleSse : handleStreamable;
    handle(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    written: state.written,
    tokens: state.tokens,
    lists: () => state.lists,
    sessions: () => state.sessions,
    holding: () => state.holding,
    cancelled: () => state.cancelled,
    release() {
      for (const resolve of waiting) resolve();
      waiting.clear();
    },
    addTool(name) {
      extra.push(name);
      for (const { server } of open.values()) addTo(server, name);
    },
    cut() {
      for (const response of answering) response.destroy();
    },
    resumed: state.resumed,
    forget: () => open.clear(),
    async close() {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

function addTo(server: McpServer, name: string): void {
  server.registerTool(name, { description: "Added later." }, () => ({ content: [{ type: "text", text: name }] }));
}

/** Looks at a request's body without taking it away from its reader. */
function tap(request: IncomingMessage, look: (text: string) => void): void {
  const emit = request.emit.bind(request);
  request.emit = (event: string, ...values: unknown[]) => {
    const [chunk] = values;
    if (event === "data" && Buffer.isBuffer(chunk)) look(chunk.toString("utf8"));
    return emit(event, ...values);
  };
}
