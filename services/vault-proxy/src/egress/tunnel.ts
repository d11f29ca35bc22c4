/**
 * What runs inside CONNECT. Three kinds, told by the client's first bytes:
 *
 * - TLS for a host whose credentials the session has: TLS ends here and each request is looked at (`intercept`).
 * - other TLS: bytes both ways, after the name in the ClientHello was found to be the judged one (U1).
 * - no TLS: on port 80 HTTP, request by request; elsewhere bytes both ways only where the policy names the port.
 *
 * U1 a missing, different or hidden server name ends the tunnel: an allowed host may not be the front of another.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { CLIENT_TIMES, type ClientTimes, lookEveryMs } from "../http/client-times.ts";
import type { SessionClaims } from "../tokens/session-tokens.ts";
import { MAX_HELLO_BYTES, readClientHello } from "./client-hello.ts";
import type { EgressRecord } from "./egress-audit.ts";
import { forwardHttp } from "./forward-http.ts";
import type { Interceptor } from "./interceptor.ts";
import type { ReturnPath } from "./return-path.ts";
import type { SwapSource } from "./session-egress.ts";
import { normalHost, type Target } from "./target.ts";
import { UpstreamAgent, type UpstreamOptions } from "./upstream-agent.ts";

/** What tunnels need. */
export type TunnelDeps = Pick<UpstreamOptions, "dialer" | "ca"> & {
  readonly interceptor: Interceptor;
  /** The session's credentials for a host; undefined when it has none there. */
  readonly swapFor: (claims: SessionClaims, target: Target) => Promise<SwapSource | undefined>;
  /** Default: `CLIENT_TIMES`. */
  readonly times?: ClientTimes | undefined;
};

/** One tunnel that was judged and dialled. */
export type Tunnel = {
  readonly claims: SessionClaims;
  readonly target: Target;
  /** The policy names this port, so every protocol may be spoken. */
  readonly explicit: boolean;
  readonly client: Duplex;
  /** What came right behind the request. */
  readonly head: Buffer;
  readonly upstream: Socket;
  readonly back: ReturnPath;
  readonly signal: AbortSignal;
  readonly record: EgressRecord;
};

/** The whole of one request, its body included. */
const REQUEST_MS = 3_600_000;

/** Answers the CONNECT and carries the tunnel to its end. Never rejects. */
export async function runTunnel(deps: TunnelDeps, tunnel: Tunnel): Promise<void> {
  const { client, upstream, signal, record } = tunnel;
  const end = () => {
    client.destroy();
    upstream.destroy();
  };
  signal.addEventListener("abort", end, { once: true });
  client.on("error", end);
  upstream.on("error", end).setTimeout((deps.times ?? CLIENT_TIMES).silenceMs, end);
  client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
  if (tunnel.head.length > 0) client.unshift(tunnel.head);
  try {
    const outcome = await carry(deps, tunnel);
    record.ended(outcome, outcome === "refused" ? 403 : 200);
  } catch {
    record.ended(signal.aborted ? "aborted" : "failed", 200);
  } finally {
    signal.removeEventListener("abort", end);
    end();
  }
}

async function carry(deps: TunnelDeps, tunnel: Tunnel): Promise<"served" | "refused"> {
  const { target, explicit, client, back } = tunnel;
  // A server that speaks first (SSH, databases) must be heard; its bytes wait until then.
  const { firstBytesMs } = deps.times ?? CLIENT_TIMES;
  const first = await firstBytes(client, explicit ? back : undefined, firstBytesMs);
  if (first === undefined) return "refused";
  const hello = readClientHello(first);
  if (hello.kind === "tls") {
    const named = hello.serverName === undefined ? undefined : normalHost(hello.serverName);
    const honest = target.address ? hello.serverName === undefined : named === target.host;
    if (!honest || hello.encrypted) return "refused";
    const swap = await deps.swapFor(tunnel.claims, target);
    if (swap) return intercepted(deps, tunnel, swap);
    return relay(tunnel);
  }
  if (hello.kind !== "other") return "refused";
  if (target.port === 80) return plainHttp(deps, tunnel);
  return explicit ? relay(tunnel) : "refused";
}

/** Bytes both ways until both ends are done. */
async function relay({ client, upstream, back, record }: Tunnel): Promise<"served"> {
  const results = await Promise.allSettled([pipeline(client, upstream), back.into(upstream, client)]);
  record.bytes.sent = upstream.bytesWritten;
  record.bytes.received = upstream.bytesRead;
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return "served";
}

async function intercepted(deps: TunnelDeps, tunnel: Tunnel, swap: SwapSource): Promise<"served"> {
  tunnel.upstream.destroy();
  const plain = await deps.interceptor.accept(tunnel.client, tunnel.target);
  await serveHttp(deps, tunnel, plain, swap);
  return "served";
}

async function plainHttp(deps: TunnelDeps, tunnel: Tunnel): Promise<"served"> {
  tunnel.upstream.destroy();
  await serveHttp(deps, tunnel, tunnel.client, undefined);
  return "served";
}

/** Node's own HTTP server on one stream: the same strict parser as at the front door. */
async function serveHttp(
  deps: TunnelDeps,
  tunnel: Tunnel,
  stream: Duplex,
  swapNow: SwapSource | undefined,
): Promise<void> {
  const { target, signal, record } = tunnel;
  const { times = CLIENT_TIMES } = deps;
  const secure = stream !== tunnel.client;
  const upstream = new UpstreamAgent({ dialer: deps.dialer, ca: deps.ca, secure, signal });
  const options = { insecureHTTPParser: false, connectionsCheckingInterval: lookEveryMs(times) };
  const server = createServer(options, (request: IncomingMessage, response: ServerResponse) => {
    const path = request.url ?? "/";
    if (!path.startsWith("/")) {
      response.writeHead(400, { connection: "close" }).end("manyhands: the request target must be a path\n");
      return;
    }
    const inner = record.request(request.method ?? "", path);
    const forward = async () => {
      const swap = await swapNow?.();
      await forwardHttp({ target, secure, swap, upstream, signal, record: inner }, { request, response, path });
    };
    forward().catch((error: unknown) => {
      inner.ended("failed");
      if (response.headersSent) response.destroy();
      else response.writeHead(502, { connection: "close" }).end(`manyhands: ${wordsOf(error, target)}\n`);
    });
  });
  server.headersTimeout = times.headersMs;
  server.requestTimeout = REQUEST_MS;
  server.timeout = times.silenceMs;
  // A server that listens nowhere does not look for late requests before it hears this.
  server.emit("listening");
  try {
    await new Promise<void>((resolve) => {
      stream.once("close", resolve);
      server.emit("connection", stream);
      stream.resume();
    });
  } finally {
    upstream.destroy();
    server.closeAllConnections();
    server.close();
  }
}

function wordsOf(error: unknown, target: Target): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "no answer";
  return error instanceof Error && /^(Dial|UnsearchableAnswer$)/.test(error.name)
    ? error.message
    : `the exchange with ${target.host} failed (${code})`;
}

/**
 * The client's first bytes, whole when they are a ClientHello, given back to the stream; empty when the server speaks
 * first; undefined when nothing came in time.
 */
function firstBytes(client: Duplex, speaksFirst: ReturnPath | undefined, waitMs: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let settled = false;
    const settle = (answer: Buffer | undefined) => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      client.off("readable", onReadable).off("end", onEnd).off("close", onEnd);
      if (chunks.length > 0 && !client.destroyed) client.unshift(Buffer.concat(chunks));
      resolve(answer);
    };
    const onReadable = () => {
      for (let chunk: unknown = client.read(); chunk !== null; chunk = client.read()) {
        if (Buffer.isBuffer(chunk)) chunks.push(chunk);
      }
      const bytes = Buffer.concat(chunks);
      if (bytes.length > 0 && (readClientHello(bytes).kind !== "incomplete" || bytes.length > MAX_HELLO_BYTES)) {
        settle(bytes);
      }
    };
    const onEnd = () => settle(undefined);
    const timer = setTimeout(onEnd, waitMs);
    client.on("readable", onReadable).once("end", onEnd).once("close", onEnd);
    speaksFirst?.onFirst(() => settle(OTHER));
  });
}

/** Stands for a client that waits for its server: not TLS. */
const OTHER = Buffer.from([0]);
