/**
 * One HTTP request on its way to a vetted place: plain ones, and those inside a tunnel whose TLS ends here.
 *
 * F1 the Host header is the judged target; another one is refused (domain fronting). F2 the headers of the connection
 * and of the proxy stop here. F3 a credential goes in only through `swap`, only where TLS protects it, and never comes
 * back: every answer of a swapped host is searched.
 */
import { type IncomingMessage, type ServerResponse, request as sendRequest } from "node:http";
import { type Duplex, PassThrough, Transform } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { answerSink } from "./answer-sink.ts";
import type { EgressRecord } from "./egress-audit.ts";
import { MAX_SIGNED_BODY, maySign } from "./sign-again.ts";
import type { Swap } from "./swap.ts";
import { parseTarget, type Target } from "./target.ts";
import type { TargetedRequest, UpstreamAgent } from "./upstream-agent.ts";

/** Where requests of one connection go. */
export type ForwardContext = {
  readonly target: Target;
  /** TLS towards the target. */
  readonly secure: boolean;
  /** The session's credentials for this host, if any. */
  readonly swap: Swap | undefined;
  readonly upstream: UpstreamAgent;
  readonly signal: AbortSignal;
  readonly record: EgressRecord;
};

/** A request with the place for its answer; `path` is what is asked for upstream. */
export type Exchange = { readonly request: IncomingMessage; readonly response: ServerResponse; readonly path: string };

type Headers = Record<string, string | string[]>;

const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const FIRST_BYTE_MS = 300_000;

/** Sends one request on and its answer back. Rejects when either end fails. */
export async function forwardHttp(context: ForwardContext, exchange: Exchange): Promise<void> {
  const { target, secure, swap, signal, record } = context;
  const { request, response, path } = exchange;
  if (!namesTarget(request, target, secure)) {
    record.refused(421);
    answer(request, response, 421, "the Host header is not the host this connection was opened to");
    return;
  }
  let used: ReadonlySet<string> = new Set();
  try {
    const outgoing = swap
      ? await prepare(swap, request, path)
      : { path, headers: passOn(request.headers), body: [], used };
    used = outgoing.used;
    const headers: Headers = { ...outgoing.headers, host: hostHeader(target, secure) };
    const incoming = await send(context, request, { path: outgoing.path, headers, body: outgoing.body });
    const back = await swap?.incoming(passOn(incoming.headers), used).catch((error: unknown) => {
      incoming.destroy();
      throw error;
    });
    response.writeHead(incoming.statusCode ?? 502, back?.headers ?? passOn(incoming.headers));
    response.flushHeaders();
    const changed = hasBody(request, incoming) ? back : undefined;
    const onBytes = (length: number) => {
      record.bytes.received += length;
    };
    await pipeline([incoming, ...(changed?.body ?? []), answerSink(response, onBytes, changed?.scrub)]);
    record.used(used);
    record.ended("served", incoming.statusCode);
  } catch (error) {
    record.used(used);
    record.ended(signal.aborted ? "aborted" : "failed");
    throw error;
  }
}

/** Streams between the client's body and the upstream, or the whole body. */
type Body = readonly Duplex[] | Uint8Array;
type ToSend = { readonly path: string; readonly headers: Headers; readonly body: Body };
type Prepared = ToSend & { readonly used: ReadonlySet<string> };

/** Puts the credentials in. What may be signed is read first, because a signature covers the body. */
async function prepare(swap: Swap, request: IncomingMessage, path: string): Promise<Prepared> {
  const headers = passOn(request.headers);
  const length = Number(request.headers["content-length"] ?? (request.headers["transfer-encoding"] ? Number.NaN : 0));
  if (!maySign(headers, path) || !(length <= MAX_SIGNED_BODY)) return { path, ...swap.outgoing(headers) };
  const body = await buffer(request);
  return swap.outgoingWhole({ method: request.method ?? "", path, headers, body });
}

/** RFC 9112 6.3: these have no body whatever their headers say, and nothing that could be unpacked. */
function hasBody(request: IncomingMessage, { statusCode }: IncomingMessage): boolean {
  return request.method !== "HEAD" && statusCode !== 204 && statusCode !== 304;
}

function send(context: ForwardContext, request: IncomingMessage, toSend: ToSend): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { path, headers, body } = toSend;
    const { target, upstream, signal, record } = context;
    const options: TargetedRequest = {
      agent: upstream,
      target,
      host: target.host,
      port: target.port,
      method: request.method,
      path,
      headers,
      setHost: false,
      timeout: FIRST_BYTE_MS,
      signal,
    };
    const outgoing = sendRequest(options);
    outgoing.once("response", resolve);
    outgoing.once("error", reject);
    outgoing.once("timeout", () => outgoing.destroy(new Error("the upstream is silent")));
    if (body instanceof Uint8Array) {
      record.bytes.sent += body.byteLength;
      outgoing.end(body);
      return;
    }
    const hasBody =
      request.headers["content-length"] !== undefined || request.headers["transfer-encoding"] !== undefined;
    if (!hasBody) {
      outgoing.end();
      return;
    }
    pipeline([request, ...body, countSent(record), outgoing]).catch(reject);
  });
}

/** F1. */
function namesTarget(request: IncomingMessage, target: Target, secure: boolean): boolean {
  const [authority = "", ...others] = request.headersDistinct.host ?? [];
  if (others.length > 0) return false;
  const [, host = "", port] = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(authority) ?? [];
  const named = parseTarget(host, port === undefined ? (secure ? 443 : 80) : Number(port));
  const samePort = named.ok && (named.value.port === target.port || port === undefined);
  return named.ok && named.value.host === target.host && samePort;
}

function hostHeader({ host, port }: Target, secure: boolean): string {
  const name = host.includes(":") ? `[${host}]` : host;
  return port === (secure ? 443 : 80) ? name : `${name}:${port}`;
}

/** F2. */
function passOn(headers: IncomingMessage["headers"]): Headers {
  const named = new Set((headers.connection ?? "").split(",").map((name) => name.trim().toLowerCase()));
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined || HOP_BY_HOP.has(name) || named.has(name) ? [] : [[name, value]],
    ),
  );
}

function countSent(record: EgressRecord): Duplex {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      record.bytes.sent += chunk.byteLength;
      done(null, chunk);
    },
  });
}

function answer(request: IncomingMessage, response: ServerResponse, status: number, message: string): void {
  const body = `manyhands: ${message}\n`;
  response.writeHead(status, {
    "content-type": "text/plain",
    "content-length": Buffer.byteLength(body),
    connection: "close",
  });
  response.end(body);
  request.pipe(new PassThrough()).resume();
}
