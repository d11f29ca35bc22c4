/**
 * Calls of MCP tools under receipts.
 *
 * C1 the receipt is stored before anything is sent; whoever finds one waits for its end and never sends, and whoever lost
 * one, by being silent for too long, waits too: only what is stored is told. C2 a call is
 * sent again only when it is proved that the server did nothing, or when an operator declared the tool idempotent; what a
 * server says about its own tools proves nothing. C3 the call runs on when its caller goes away; it ends by its result, its
 * timeout, a cancel, or the end of its session.
 */
import { createHash } from "node:crypto";
import { type Clock, type Logger, toAppError } from "@manyhands/kit";
import type { Binding, BoundMcpServer } from "../store/binding-store.ts";
import {
  type HeldReceipt,
  isHeld,
  type ReceiptEnd,
  type ReceiptRef,
  type ReceiptStore,
} from "../store/receipt-store.ts";
import type { JsonObject } from "./json-rpc.ts";
import { McpError, RpcError } from "./mcp-error.ts";
import type { SessionServers } from "./session-servers.ts";
import { scrubber, toolResult } from "./tool-result.ts";
import type { Authorized } from "./transport.ts";

/** One call to make. */
export type ToolCall = {
  readonly session: string;
  readonly binding: Binding;
  readonly operation: string;
  readonly server: BoundMcpServer;
  readonly name: string;
  readonly input: JsonObject;
  readonly timeoutMs: number;
};

/** How an exchange with a server went, for the record. */
export type ToolUsage = {
  readonly call: ToolCall;
  readonly credentialId: string;
  readonly status: number;
  readonly outcome: ReceiptEnd["outcome"];
  readonly bytes: number;
};

/** What it needs. */
export type CallDeps = {
  readonly receipts: ReceiptStore;
  /** How long a receipt's owner is believed to live without a renewal. */
  readonly leaseMs: number;
  readonly servers: SessionServers;
  /** True where an operator declared that repeating a call changes nothing. */
  readonly isIdempotent: (url: string, tool: string) => boolean;
  readonly onUsed: (usage: ToolUsage) => void;
  readonly clock: Clock;
  readonly logger: Logger;
};

/** Makes and follows calls. */
export type ToolCalls = {
  /** The end of a call, however often it is asked for. Rejects when `signal` aborts; the call runs on. */
  call(call: ToolCall, signal: AbortSignal): Promise<ReceiptEnd>;
  cancel(ref: ReceiptRef): Promise<void>;
  /** Stops what runs for a session, and forgets its receipts. */
  end(session: string): Promise<void>;
  /** Waits for what runs, until the signal aborts; then stops it. */
  drain(signal: AbortSignal): Promise<void>;
};

const POLL_MS = 150;
const SENDS = 3;
const PAUSE_MS = 250;

/** `end` is undefined when the receipt was lost to another process, which makes the call. */
type Running = {
  readonly session: string;
  readonly stop: AbortController;
  readonly end: Promise<ReceiptEnd | undefined>;
};

/** Calls of this process. */
export function toolCalls(deps: CallDeps): ToolCalls {
  const { receipts, clock, logger } = deps;
  const running = new Map<string, Running>();
  /** One at a time for each call: of two callers here, one would take the receipt from the other when its lease is over. */
  const taking = new Map<string, Promise<{ readonly end: Running["end"] }>>();
  const keyOf = ({ session, operation }: ReceiptRef) => `${session}.${operation}`;

  const start = (call: ToolCall, receipt: HeldReceipt): Running["end"] => {
    const stop = new AbortController();
    const key = keyOf(call);
    const end = runCall(deps, call, receipt, stop).finally(() => running.delete(key));
    end.catch((error: unknown) =>
      logger.error({ err: error, operation_id: call.operation }, "a call's end could not be stored"),
    );
    running.set(key, { session: call.session, stop, end });
    return end;
  };
  /** The end of a call that was taken over, or the end that another process has stored, if it has. */
  const take = async (call: ToolCall, ref: ReceiptRef): Promise<{ readonly end: Running["end"] }> => {
    const taken = await receipts.take(ref, digestOf(call));
    return { end: isHeld(taken) ? start(call, taken) : Promise.resolve(taken.end) };
  };
  const takeOnce = (call: ToolCall, ref: ReceiptRef) => {
    const key = keyOf(ref);
    const begun = taking.get(key) ?? take(call, ref).finally(() => taking.delete(key));
    taking.set(key, begun);
    return begun;
  };
  return {
    async call(call, signal) {
      const ref: ReceiptRef = { session: call.session, operation: call.operation };
      for (;;) {
        const known = running.get(keyOf(ref)) ?? (await takeOnce(call, ref));
        const end = await untilAborted(known.end, signal);
        if (end) return end;
        await clock.sleep(POLL_MS, signal);
      }
    },
    async cancel(ref) {
      running.get(keyOf(ref))?.stop.abort();
      await receipts.cancel(ref);
    },
    async end(session) {
      const ended = [...running.values()].filter((one) => one.session === session);
      for (const { stop } of ended) stop.abort();
      await Promise.allSettled(ended.map(({ end }) => end));
      await receipts.purge(session);
    },
    async drain(signal) {
      const all = () => Promise.allSettled([...running.values()].map(({ end }) => end));
      await untilAborted(all(), signal).catch(() => undefined);
      for (const { stop } of running.values()) stop.abort();
      await all();
    },
  };
}

/** Sends the call, renews the receipt meanwhile, and stores how it ended; answers what is stored. */
async function runCall(
  deps: CallDeps,
  call: ToolCall,
  receipt: HeldReceipt,
  stop: AbortController,
): Promise<ReceiptEnd | undefined> {
  const timeout = new AbortController();
  const over = new AbortController();
  deps.clock.sleep(call.timeoutMs, over.signal).then(
    () => timeout.abort(),
    () => undefined,
  );
  void keepReceipt(deps, receipt, stop, over.signal);
  const signal = AbortSignal.any([stop.signal, timeout.signal]);
  try {
    const whoStopped = () => (timeout.signal.aborted ? "timeout" : "request");
    const end = await sendUntilDone(deps, call, receipt, signal, whoStopped);
    return await receipt.end(end).then(
      (stands) => stands.end,
      (error: unknown) => {
        // The session ended and took its receipts along: nobody will ask for this one.
        if (toAppError(error).kind !== "notFound") throw error;
        return end;
      },
    );
  } finally {
    over.abort();
  }
}

/** Says again and again that the owner lives, until the call is over; stops it when somebody asked for that. */
async function keepReceipt(
  { clock, leaseMs, logger }: CallDeps,
  receipt: HeldReceipt,
  stop: AbortController,
  over: AbortSignal,
): Promise<void> {
  while (!over.aborted) {
    await clock.sleep(leaseMs / 4, over).catch(() => undefined);
    if (over.aborted) return;
    receipt.renew().then(
      (isAsked) => isAsked && stop.abort(),
      (error: unknown) => logger.warn({ err: toAppError(error) }, "a receipt could not be renewed"),
    );
  }
}

async function sendUntilDone(
  deps: CallDeps,
  call: ToolCall,
  receipt: HeldReceipt,
  signal: AbortSignal,
  whoStopped: () => "timeout" | "request",
): Promise<ReceiptEnd> {
  const { url } = call.server;
  for (let sends = 1; ; sends += 1) {
    const sent = await sendOnce(deps, call, receipt, signal);
    if (!(sent instanceof McpError)) return sent;
    if (signal.aborted) return stopped(call, whoStopped(), sent.reached);
    const mayRepeat = !sent.reached || deps.isIdempotent(url, call.name);
    if (sent.kind !== "connection" || !mayRepeat || sends >= SENDS) return failed(sent);
    await deps.clock.sleep(PAUSE_MS * sends, signal).catch(() => undefined);
    if (signal.aborted) return stopped(call, whoStopped(), sent.reached);
  }
}

async function sendOnce(
  deps: CallDeps,
  call: ToolCall,
  receipt: HeldReceipt,
  signal: AbortSignal,
): Promise<ReceiptEnd | McpError> {
  let used: Authorized | undefined;
  const onAuthorized = async (authorized: Authorized | undefined) => {
    used = authorized;
    await receipt.sending().catch((error: unknown) => {
      deps.logger.warn({ err: error, operation_id: call.operation }, "a receipt could not be marked before the call");
      throw new McpError("protocol", "the call could not be noted down and was not sent", { reached: false });
    });
  };
  /** What is proved not to have been done may be taken over by others, should this process die while it tries again. */
  const unmark = async (error: unknown): Promise<never> => {
    if (error instanceof McpError && !error.reached) await receipt.notReached();
    throw error;
  };
  const report = (status: number, outcome: ReceiptEnd["outcome"], bytes: number) =>
    deps.onUsed({ call, credentialId: used?.credential.ref.credential ?? "", status, outcome, bytes });
  try {
    const answer = await deps.servers.use(call.session, call.binding, call.server, (client) => {
      return client.callTool(call.name, call.input, { signal, onAuthorized }).catch(unmark);
    });
    const { content, isError } = toolResult(answer, scrubber(used?.credential.token.reveal() ?? ""));
    report(200, "COMPLETED", Buffer.byteLength(JSON.stringify(content)));
    return { outcome: "COMPLETED", content, isError };
  } catch (thrown) {
    if (thrown instanceof RpcError) {
      const scrub = scrubber(used?.credential.token.reveal() ?? "");
      report(200, "COMPLETED", thrown.message.length);
      const text = `The MCP server answered with error ${thrown.code}: ${scrub(thrown.message)}`;
      return { outcome: "COMPLETED", content: [{ type: "text", text }], isError: true };
    }
    const error = thrown instanceof McpError ? thrown : unexpected(deps, thrown);
    report(error.status, error.reached ? "UNKNOWN" : "NOT_STARTED", 0);
    return error;
  }
}

/** A failure of our own: nothing is known of the server, so it may have been reached. */
function unexpected({ logger }: CallDeps, thrown: unknown): McpError {
  const error = toAppError(thrown);
  logger.error({ err: error }, "a tool call failed unexpectedly");
  return new McpError("connection", "the credential or the server could not be looked up", { reached: true });
}

function failed(error: McpError): ReceiptEnd {
  const kind = error.kind === "authentication" ? "authentication" : "connection";
  return {
    outcome: error.reached ? "UNKNOWN" : "NOT_STARTED",
    content: [{ type: "text", text: error.message }],
    isError: true,
    ...(error.reached ? {} : { failure: { kind, message: error.message } }),
  };
}

function stopped(call: ToolCall, by: "timeout" | "request", reached: boolean): ReceiptEnd {
  const why = by === "timeout" ? `took longer than ${call.timeoutMs} ms` : "was stopped on request";
  const text = `The call of ${call.name} ${why}.${reached ? " It may have taken effect." : ""}`;
  return { outcome: reached ? "KILLED" : "NOT_STARTED", content: [{ type: "text", text }], isError: true };
}

function digestOf({ server, name, input }: ToolCall): string {
  return createHash("sha256")
    .update(JSON.stringify([server.name, name, input]))
    .digest("hex");
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const stop = () => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  return promise;
}
