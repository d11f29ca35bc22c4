/**
 * MCP in a world: proxies with the real receipts and the real calls of vault-proxy (CP25), a bucket that loses and
 * repeats, and a server that may be gone, refuse, be slow, or do its work and have its answer lost. A proxy can die or
 * stop at any moment; receipts stay.
 */
import { create } from "@bufbuild/protobuf";
import { AppError, silentLogger } from "@manyhands/kit";
import { CallToolResponseSchema, CancelToolResponseSchema, ListToolsResponseSchema } from "@manyhands/protocol";
import type { McpPorts } from "../../services/harness/src/mcp/call-mcp.ts";
import { type ToolCall, type ToolCalls, toolCalls } from "../../services/vault-proxy/src/mcp/call-tools.ts";
import type { McpClient } from "../../services/vault-proxy/src/mcp/client.ts";
import { McpError } from "../../services/vault-proxy/src/mcp/mcp-error.ts";
import type { Kv } from "../../services/vault-proxy/src/store/kv.ts";
import { memoryKv } from "../../services/vault-proxy/src/store/memory-kv.ts";
import { type ReceiptEnd, receiptStore } from "../../services/vault-proxy/src/store/receipt-store.ts";
import { Pipe, through } from "./pipe.ts";
import { Process } from "./process.ts";
import { type Stage, simLimits } from "./stage.ts";

/** The server every session with MCP tools has, and its tools: the one is allowed, the other asked about. */
export const mcpServer = "tickets";
export const mcpTools = ["file", "close"] as const;

const receiptMs = 2_000;
const failMs = 200;
const restartMs = { from: 50, to: 1_500 };
const pauseMs = { from: 500, to: 6_000 };
const proxies = 2;

interface Proxy {
  readonly process: Process;
  readonly calls: ToolCalls;
  /** Answers that callers wait for. */
  readonly waiting: Set<Pipe<ReceiptEnd>>;
}

/** The proxies of a world, behind one name. */
export class ToolProxies {
  private readonly stage: Stage;
  private readonly receipts = memoryKv();
  private readonly living = new Map<string, Proxy>();
  /** Calls that were sent and have not ended, by the proxy that made them. */
  private readonly sent = new Map<string, string>();
  private lives = 0;

  constructor(stage: Stage) {
    this.stage = stage;
    for (let n = 0; n < proxies; n += 1) this.start();
  }

  /** MCP as a brain reaches it. */
  portsOf(brain: Process): McpPorts {
    const { scheduler, faults } = this.stage;
    const vaults: McpPorts["vaults"] = {
      listTools: () =>
        brain.call("list tools", () => {
          this.pick();
          if (scheduler.chance(faults.serverGone)) {
            const failure = { mcpServerName: mcpServer, kind: "connection", message: "gone" };
            return create(ListToolsResponseSchema, { failures: [failure] });
          }
          const inputSchemaJson = new TextEncoder().encode('{"type":"object"}');
          const tools = mcpTools.map((name) => ({
            mcpServerName: mcpServer,
            name,
            description: name,
            inputSchemaJson,
          }));
          return create(ListToolsResponseSchema, { tools });
        }),
      callTool: async ({ token = "", operationId = "", name = "", inputJson }, options) => {
        const input = JSON.parse(new TextDecoder().decode(inputJson));
        const call = { session: token, operation: operationId, name, input };
        const deadline = new AbortController();
        scheduler.after(options?.deadlineMs ?? 0, () => brain.deliver(() => deadline.abort()));
        const signal = AbortSignal.any([deadline.signal, ...(options?.signal ? [options.signal] : [])]);
        const open = () => {
          if (scheduler.chance(faults.twice * 8)) this.call(call); // at the other one, perhaps
          return this.call(call);
        };
        const ends = through(brain, { site: "call tool", label: ({ outcome }) => outcome, open, signal });
        for await (const { outcome, content, isError, failure } of ends) {
          return create(CallToolResponseSchema, {
            outcome,
            isError,
            contentJson: new TextEncoder().encode(JSON.stringify(content)),
            ...(failure === undefined ? {} : { failure: { mcpServerName: mcpServer, ...failure } }),
          });
        }
        throw AppError.unavailable("UNAVAILABLE", "no answer");
      },
      cancelTool: ({ token = "", operationId = "" }) =>
        brain.call("cancel tool", () => {
          const { process, calls } = this.pick();
          const ref = { session: token, operation: operationId };
          process.deliver(() => void calls.cancel(ref).catch(() => undefined));
          return create(CancelToolResponseSchema, {});
        }),
    };
    // A token is its session's id.
    return { vaults, tokens: { get: async (sessionId) => sessionId, forget: () => undefined }, clock: brain.clock };
  }

  /** Faults that strike proxies by themselves. */
  strike(): void {
    const { scheduler, faults } = this.stage;
    const proxy = scheduler.pick([...this.living.values()]);
    if (proxy === undefined) return;
    if (scheduler.chance(faults.crash)) proxy.process.crash("struck");
    else if (scheduler.chance(faults.pause)) this.pause(proxy);
  }

  /** It stops for a while; half of the time its callers are cut off meanwhile, and ask the other one. */
  private pause({ process, waiting }: Pick<Proxy, "process" | "waiting">): void {
    const { scheduler, note } = this.stage;
    note(() => `${process.name} stops`);
    process.pause(scheduler.between(pauseMs.from, pauseMs.to), () => note(() => `${process.name} goes on`));
    if (scheduler.chance(0.5)) return;
    for (const pipe of waiting) pipe.close(AppError.unavailable("UNAVAILABLE", "the connection is gone"));
  }

  private start(): void {
    const { scheduler, faults, note, visited } = this.stage;
    this.lives += 1;
    const name = `proxy-${this.lives}`;
    note(() => `${name} starts`);
    const waiting = new Set<Pipe<ReceiptEnd>>();
    const process = new Process(name, scheduler, faults, (site) => {
      visited(`crash ${site}`);
      if ([...this.sent.values()].includes(name)) visited("CP25");
      note(() => `${name} dies: ${site}`);
      this.living.delete(name);
      for (const pipe of waiting) pipe.close(AppError.unavailable("UNAVAILABLE", "the proxy is gone"));
      scheduler.after(scheduler.between(restartMs.from, restartMs.to), () => this.start());
    });
    const calls = toolCalls({
      receipts: receiptStore(this.bucketOf({ process, waiting }), name, receiptMs, process.clock),
      leaseMs: receiptMs,
      servers: {
        use: (session, _binding, _server, work) => work(this.clientOf(process, session)),
        end: async () => undefined,
        close: async () => undefined,
      },
      isIdempotent: () => false,
      onUsed: () => undefined,
      clock: process.clock,
      logger: silentLogger(),
    });
    this.living.set(name, { process, calls, waiting });
  }

  private pick(): Proxy {
    const proxy = this.stage.scheduler.pick([...this.living.values()]);
    if (proxy === undefined) throw AppError.unavailable("UNAVAILABLE", "no proxy is up");
    return proxy;
  }

  private call(call: Pick<ToolCall, "session" | "operation" | "name" | "input">): Pipe<ReceiptEnd> {
    const { scheduler, faults } = this.stage;
    const { process, calls, waiting } = this.pick();
    const pipe = new Pipe<ReceiptEnd>();
    waiting.add(pipe);
    const close = (error?: unknown) => {
      waiting.delete(pipe);
      pipe.close(error);
    };
    const binding = { workspace: "wrkspc_1", vaultIds: [], mcpServers: [] };
    const whole = {
      ...call,
      binding,
      server: { name: mcpServer, url: "http://tickets" },
      timeoutMs: simLimits.operationTimeoutMs,
    };
    process.deliver(() => {
      calls.call(whole, new AbortController().signal).then((end) => {
        if (scheduler.chance(faults.replyLost)) close(AppError.unavailable("UNAVAILABLE", "the answer was lost"));
        else {
          pipe.push(end);
          close();
        }
      }, close);
    });
    return pipe;
  }

  /** Receipts over the network: an acknowledgement may be lost after the write, and a write may arrive twice. */
  private bucketOf(proxy: Pick<Proxy, "process" | "waiting">): Kv {
    const { receipts } = this;
    const { process } = proxy;
    const { scheduler, faults } = this.stage;
    return {
      get: async (key) => await process.call("receipt read", () => receipts.get(key)),
      create: async (key, value) => {
        const revision = await process.call("receipt created", () => receipts.create(key, value));
        if (!scheduler.chance(faults.pause * 5)) return revision;
        this.pause(proxy); // with a receipt in its hands, and nothing sent
        return await new Promise((resolve) => process.deliver(() => resolve(revision)));
      },
      update: async (key, value, revision) =>
        await process.call("receipt changed", () => receipts.update(key, value, revision)),
      purge: async (key) => await process.call("receipt purged", () => receipts.purge(key)),
      keys: async (prefix) => await process.call("receipts listed", () => receipts.keys(prefix)),
      watch: (onChange, signal) => receipts.watch(onChange, signal),
    };
  }

  /** The server, by way of one proxy. Tools are told the id of their operation, so that it is known which one ran. */
  private clientOf(process: Process, session: string): McpClient {
    const { scheduler, faults, watch, note } = this.stage;
    const gone = (reached: boolean, status = 0) => new McpError("connection", "gone", { reached, status });
    return {
      listTools: async () => [],
      initialize: async () => undefined,
      close: async () => undefined,
      callTool: async (name, input, { signal, onAuthorized }) => {
        if (scheduler.chance(faults.serverGone)) throw gone(false);
        await onAuthorized?.(undefined);
        if (signal.aborted) throw new McpError("stopped", "stopped", { reached: false });
        const operation = String(input.operation);
        if (process.mayCrash("tool: not sent")) return new Promise(() => undefined);
        this.sent.set(operation, process.name);
        return await new Promise((resolve, reject) => {
          const end = (settle: () => void, afterMs: number) =>
            scheduler.after(afterMs, () =>
              process.deliver(() => {
                this.sent.delete(operation);
                settle();
              }),
            );
          const stop = () => {
            this.sent.delete(operation);
            reject(new McpError("stopped", "stopped", { reached: true }));
          };
          signal.addEventListener("abort", stop, { once: true });
          scheduler.after(scheduler.between(0, 3), () => {
            if (scheduler.chance(faults.requestLost)) return end(() => reject(gone(true)), failMs);
            if (scheduler.chance(faults.serverGone)) return end(() => reject(gone(false, 429)), 1);
            note(() => `${mcpServer} runs ${name} for ${operation}`);
            watch.ran(session, operation);
            if (process.mayCrash("tool: not answered")) return undefined;
            if (scheduler.chance(faults.replyLost)) return end(() => reject(gone(true)), failMs);
            const isSlow = scheduler.chance(0.1);
            const workMs = isSlow ? simLimits.operationTimeoutMs * 2 : scheduler.between(0, 300);
            return end(() => resolve({ content: [{ type: "text", text: `done ${operation}` }] }), workMs);
          });
        });
      },
    };
  }
}
