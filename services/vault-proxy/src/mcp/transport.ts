/** What both ways of speaking to an MCP server have in common. */
import type { Dispatcher } from "undici";
import type { JsonObject, RpcMessage } from "./json-rpc.ts";
import type { McpCredential } from "./session-credentials.ts";

/** A request to a server. */
export type RpcRequest = { readonly id: number; readonly method: string; readonly params: JsonObject };

/** What goes into the authorization header, and a name of the credential it comes from. */
export type Authorized = { readonly header: string; readonly name: string; readonly credential: McpCredential };

/** Told what a message carries, before it is sent; a rejection keeps it from being sent. */
export type OnAuthorized = (authorized: Authorized | undefined) => Promise<void>;

/** Sends requests; rejects with McpError or RpcError. */
export type Transport = {
  request(request: RpcRequest, signal: AbortSignal, onAuthorized?: OnAuthorized): Promise<JsonObject>;
  notify(method: string, params: JsonObject, signal: AbortSignal): Promise<void>;
  /** After the handshake: the agreed version goes with every later message. */
  agreed(protocolVersion: string): void;
  /** Listens to what the server says by itself, until the signal aborts. Resolves when there is no such stream. */
  listen(signal: AbortSignal): Promise<void>;
  /** Tells the server that the session is over; never rejects. */
  close(): Promise<void>;
};

/** Where a transport speaks to and with what. */
export type TransportOptions = {
  readonly dispatcher: Dispatcher;
  readonly url: URL;
  /** The credential to use now, or undefined for none. Asked anew for every message. */
  readonly authorization: () => Promise<Authorized | undefined>;
  /** Called with what is not the answer to a request of ours. */
  readonly onMessage: (message: RpcMessage) => void;
};

/** Bounds of what is read from a server. */
export const MCP_LIMITS = {
  /** Characters of one message. */
  message: 8 * 1024 * 1024,
  /** Bytes of one HTTP answer, all messages together. */
  answer: 16 * 1024 * 1024,
  /** Milliseconds a server may take over anything but a tool call. */
  requestMs: 15_000,
  /** How often in a row a cut answer is asked for again without anything new in it. */
  resumes: 5,
  /** Milliseconds before the first time, more each time; and the longest wait, whatever the server wishes. */
  resumeAfterMs: 200,
  resumeWaitMs: 10_000,
} as const;
