/** MCP for sessions, put together: servers, calls, credentials; made once, stopped with the service. */
import { type Clock, type Lifecycle, type Logger, newId } from "@manyhands/kit";
import type { Dispatcher } from "undici";
import { refreshLeases } from "../oauth/refresh-lease.ts";
import { type TokenRefresher, tokenRefresher } from "../oauth/refresh-tokens.ts";
import type { CredentialStore } from "../store/credential-store.ts";
import type { Buckets } from "../store/kv.ts";
import { receiptStore } from "../store/receipt-store.ts";
import type { Usage, UsageSink } from "../usage/usage.ts";
import { type ToolCalls, type ToolUsage, toolCalls } from "./call-tools.ts";
import { sessionCredentials } from "./session-credentials.ts";
import { type SessionServers, sessionServers } from "./session-servers.ts";
import { type ToolPins, toolPins } from "./tool-pins.ts";

/** MCP for sessions. */
export type SessionMcp = {
  readonly servers: SessionServers;
  readonly pins: ToolPins;
  readonly calls: ToolCalls;
  readonly refresher: TokenRefresher;
  /** For connections that belong to no session. */
  readonly dispatcher: Dispatcher;
};

/** What it needs. */
export type SessionMcpDeps = {
  readonly dispatcher: Dispatcher;
  readonly buckets: Pick<Buckets, "vaults" | "receipts">;
  readonly credentials: CredentialStore;
  readonly leases: { readonly receiptMs: number; readonly refreshMs: number };
  /** `<server url>#<tool>`, or `<server url>#*`: tools an operator declared idempotent. */
  readonly idempotentTools: readonly string[];
  readonly usage: UsageSink;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
};

/** Puts it together. */
export function sessionMcp(deps: SessionMcpDeps): SessionMcp {
  const { buckets, clock, credentials, dispatcher, leases, lifecycle, logger, usage } = deps;
  const refresher = tokenRefresher({
    credentials,
    leases: refreshLeases(buckets.vaults, leases.refreshMs, clock),
    requestMs: leases.refreshMs * REQUEST_SHARE,
    dispatcher,
    clock,
    logger,
    onRefresh: (ref, endpoint, { status, http }) =>
      usage.record({
        ...base(clock.nowMs()),
        session: "",
        workspace: ref.workspace,
        credentialId: ref.credential,
        host: endpoint.host,
        path: endpoint.pathname.slice(0, 512),
        status: http?.status ?? 0,
        outcome: status === "succeeded" ? "served" : "failed",
      }),
  });
  const servers = sessionServers({
    dispatcher,
    clock,
    credentials: sessionCredentials({ credentials, refresher, clock }),
  });
  const idempotent = new Set(deps.idempotentTools);
  const calls = toolCalls({
    receipts: receiptStore(buckets.receipts, newId("vp"), leases.receiptMs, clock),
    leaseMs: leases.receiptMs,
    servers,
    isIdempotent: (url, tool) => idempotent.has(`${url}#${tool}`) || idempotent.has(`${url}#*`),
    onUsed: (used) => usage.record(usageOf(used, clock.nowMs())),
    clock,
    logger,
  });
  lifecycle.onStop("MCP servers", () => servers.close());
  lifecycle.onStop("MCP calls", (signal) => calls.drain(signal), {
    phase: "drain",
    deadlineMs: lifecycle.drainMs + STOP_MARGIN_MS,
  });
  return { servers, pins: toolPins(buckets.receipts), calls, refresher, dispatcher };
}

const STOP_MARGIN_MS = 1000;
/** Part of a lease that the request itself may take. */
const REQUEST_SHARE = 0.75;

function usageOf({ call, credentialId, status, outcome, bytes }: ToolUsage, atMs: number): Usage {
  const url = new URL(call.server.url);
  return {
    ...base(atMs),
    session: call.session,
    workspace: call.binding.workspace,
    credentialId,
    operationId: call.operation,
    host: url.host,
    path: url.pathname.slice(0, 512),
    status,
    requestBytes: Buffer.byteLength(JSON.stringify(call.input)),
    responseBytes: bytes,
    outcome: outcome === "COMPLETED" ? "served" : outcome === "NOT_STARTED" ? "refused" : "failed",
  };
}

function base(atMs: number) {
  return {
    id: newId("sevt"),
    proxy: "mcp",
    tokenId: "",
    method: "POST",
    requestBytes: 0,
    responseBytes: 0,
    atMs,
  } as const;
}
