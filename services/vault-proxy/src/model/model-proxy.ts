/**
 * The model API for sessions: the session token is taken off, the real key put on, and everything else, above all the
 * stream, passes untouched.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { AppError, type Clock, type Logger, newId, toAppError, toHttpError } from "@manyhands/kit";
import type { Dispatcher } from "undici";
import {
  type Answer,
  BodyTooLarge,
  type ByteCount,
  ClientGone,
  clientGone,
  failureCode,
  readShortBody,
  sendBack,
  sendOn,
  sendWhole,
} from "../http/relay.ts";
import { type SessionSlots, sessionSlots } from "../http/session-slots.ts";
import { type CleanHeaders, passHeaders, withoutSecret } from "../policy/headers.ts";
import type { ModelKey } from "../store/model-key-store.ts";
import type { SessionGuard } from "../tokens/session-guard.ts";
import type { SessionClaims } from "../tokens/session-tokens.ts";
import type { Usage, UsageSink } from "../usage/usage.ts";
import { type KeyRing, keyRing } from "./key-ring.ts";
import { parseModelRequest } from "./model-request.ts";
import { type ModelTokens, type UsageMeter, usageMeter } from "./usage-meter.ts";

/** What the proxy needs. */
export type ModelProxyDeps = {
  readonly guard: Pick<SessionGuard, "admit" | "onRevoked">;
  /** Base URL of the model API; a path prefix is kept. */
  readonly upstreamUrl: string;
  /** Keys to try for a workspace, in order; none: the upstream asks for none (the demo model). */
  readonly keys: (workspace: string) => Promise<readonly ModelKey[]>;
  readonly dispatcher: Dispatcher;
  readonly usage: UsageSink;
  readonly logger: Logger;
  readonly clock: Pick<Clock, "nowMs">;
};

/** Bodies up to this are read first, so that head and body go on in one piece: what most requests of a session have. */
const MAX_WHOLE_BYTES = 64 * 1024;
/** Where there are several keys, bodies up to this are kept until the answer's head came, to try another key. */
const MAX_REPLAY_BYTES = 4 * 1024 * 1024;
/** Longest request body, as the hosted API has it. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;
/** A session with many threads asks many times at once; more than this is a runaway. */
const REQUESTS_PER_SESSION = 64;
const RETRY_AFTER_MS = 1000;
const MAX_HEADER_BYTES = 64 * 1024;
const HEADERS_MS = 10_000;
/** How often requests that take too long are looked for. */
const LOOK_MS = 2000;
const REQUEST_MS = 120_000;
const KEEP_ALIVE_MS = 75_000;

/** The HTTP server of the model proxy; not listening yet. */
export function createModelServer(deps: ModelProxyDeps): Server {
  const upstream = new URL(deps.upstreamUrl);
  const target: Upstream = {
    origin: upstream.origin,
    host: upstream.host,
    prefix: upstream.pathname.replace(/\/+$/, ""),
  };
  const slots = sessionSlots(REQUESTS_PER_SESSION);
  const ring = keyRing(deps.clock);
  const strict = { maxHeaderSize: MAX_HEADER_BYTES, insecureHTTPParser: false };
  const server = createServer({ ...strict, connectionsCheckingInterval: LOOK_MS }, (request, response) => {
    serve(deps, { target, slots, ring }, request, response).catch((error: unknown) => {
      deps.logger.error({ err: error }, "a model request failed unexpectedly");
      response.destroy();
    });
  });
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = REQUEST_MS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return server;
}

type Upstream = { readonly origin: string; readonly host: string; readonly prefix: string };

type Shared = { readonly target: Upstream; readonly slots: SessionSlots; readonly ring: KeyRing };

async function serve(
  deps: ModelProxyDeps,
  { target: upstream, slots, ring }: Shared,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const requestId = newId("req");
  let claims: SessionClaims;
  try {
    claims = await deps.guard.admit(tokenOf(request), "model");
  } catch (thrown) {
    const error = toAppError(thrown);
    if (error.kind !== "unauthenticated" && error.kind !== "denied") {
      deps.logger.error({ err: error, request_id: requestId }, "a model request could not be judged");
    }
    answerError(response, request, error, requestId);
    return;
  }
  const giveBack = slots.take(claims.session);
  if (!giveBack) {
    const message = `this session has ${REQUESTS_PER_SESSION} model requests running already`;
    answerError(response, request, AppError.exhausted("TOO_MANY_REQUESTS", message, RETRY_AFTER_MS), requestId);
    return;
  }
  const bytes: ByteCount = { sent: 0, received: 0 };
  const gone = clientGone(response);
  const stopListening = deps.guard.onRevoked(claims.session, () => gone.abort(new ClientGone()));
  let status = 0;
  let outcome: Usage["outcome"] = "failed";
  let meter: UsageMeter | undefined;
  let key: ModelKey | undefined;
  try {
    const keys = ring.order(await deps.keys(claims.workspace));
    const asked = await ask(deps, { upstream, ring, keys }, request, bytes, gone.signal);
    const { answer } = asked;
    key = asked.key;
    status = answer.statusCode;
    if (status >= 300 && status < 400) {
      answer.body.on("error", () => undefined).destroy();
      throw AppError.unavailable(
        "UPSTREAM_REDIRECT",
        "the model API answered with a redirect, which is never followed",
      );
    }
    const headers = withoutSecret(passHeaders(answer.headers), key?.value.reveal() ?? "");
    meter = usageMeter(String(answer.headers["content-type"] ?? ""));
    await sendBack(answer, response, headers, bytes, meter.add);
    outcome = "served";
  } catch (thrown) {
    outcome = thrown instanceof AppError && thrown.kind === "notFound" ? "refused" : "failed";
    const isGone = gone.signal.aborted || thrown instanceof ClientGone;
    if (isGone || response.headersSent) {
      outcome = isGone ? "aborted" : "failed";
      response.destroy();
    } else {
      answerError(response, request, explain(thrown, upstream), requestId);
    }
    deps.logger.debug({ session: claims.session, code: failureCode(thrown), outcome }, "a model exchange failed");
  } finally {
    stopListening();
    giveBack();
    const tokens = meter?.result();
    deps.usage.record(usageOf(deps, upstream, claims, request, { status, outcome, bytes, tokens, key }));
  }
}

type Asking = { readonly upstream: Upstream; readonly ring: KeyRing; readonly keys: readonly ModelKey[] };
type Asked = { readonly answer: Answer; readonly key: ModelKey | undefined };

/** Sends the request on; where there are several keys, with the next one when a key is refused or throttled. */
async function ask(
  deps: ModelProxyDeps,
  { upstream, ring, keys }: Asking,
  request: IncomingMessage,
  bytes: ByteCount,
  signal: AbortSignal,
): Promise<Asked> {
  const wanted = parseModelRequest(request.method ?? "", request.url ?? "");
  if (!wanted) {
    throw new AppError("notFound", {
      reason: "NOT_A_MODEL_REQUEST",
      message: "only POST /v1/messages, POST /v1/messages/count_tokens and GET /v1/models are served here",
    });
  }
  const outgoing = (key: ModelKey | undefined) => ({
    origin: upstream.origin,
    path: `${upstream.prefix}${wanted.path}`,
    method: wanted.method,
    headers: withKey(passHeaders(request.headers), key),
    maxBodyBytes: MAX_BODY_BYTES,
  });
  const isGet = wanted.method === "GET";
  const maxWhole = keys.length < 2 ? MAX_WHOLE_BYTES : MAX_REPLAY_BYTES;
  if (isGet) request.resume();
  const body = isGet ? EMPTY : await readShortBody(request, maxWhole);
  if (body === undefined || keys.length < 2) {
    const [key] = keys;
    const answer =
      body === undefined
        ? await sendOn(deps.dispatcher, request, outgoing(key), bytes, signal)
        : await sendWhole(deps.dispatcher, body, outgoing(key), bytes, signal);
    if (key) ring.hasFailed(key, answer.statusCode, retryAfterOf(answer));
    return { answer, key };
  }
  for (const [index, key] of keys.entries()) {
    const answer = await sendWhole(deps.dispatcher, body, outgoing(key), bytes, signal);
    const hasFailed = ring.hasFailed(key, answer.statusCode, retryAfterOf(answer));
    if (!hasFailed || index === keys.length - 1) return { answer, key };
    answer.body
      .on("error", () => undefined)
      .dump({ limit: 64 * 1024 })
      .catch(() => undefined);
  }
  throw new TypeError("a loop over at least two keys ended without an answer");
}

const EMPTY = Buffer.alloc(0);

function retryAfterOf({ headers }: Answer): string | undefined {
  const value = headers["retry-after"];
  return Array.isArray(value) ? value[0] : value;
}

/** Plain text is asked for, so that the tokens of the answer can be counted as it passes. */
function withKey(headers: CleanHeaders, key: ModelKey | undefined): CleanHeaders {
  const plain = { ...headers, "accept-encoding": "identity" };
  return key ? { ...plain, "x-api-key": key.value.reveal() } : plain;
}

/** The session token, where the official client puts keys: `Authorization: Bearer`, or `x-api-key`. */
function tokenOf(request: IncomingMessage): string {
  const { authorization } = request.headers;
  if (authorization !== undefined) {
    return /^Bearer ([^\s]+)$/i.exec(authorization)?.[1] ?? "";
  }
  const key = request.headers["x-api-key"];
  return typeof key === "string" ? key : "";
}

function explain(thrown: unknown, upstream: Upstream): AppError {
  if (thrown instanceof AppError) {
    return thrown;
  }
  if (thrown instanceof BodyTooLarge) {
    return AppError.invalid([{ field: "body", description: `must be at most ${MAX_BODY_BYTES} bytes` }]);
  }
  // Only the failure's code: messages of the connection layer may quote what was sent.
  const message = `the model API at ${upstream.host} cannot be reached (${failureCode(thrown)})`;
  return AppError.unavailable("UPSTREAM_UNREACHABLE", message);
}

function answerError(response: ServerResponse, request: IncomingMessage, error: AppError, requestId: string): void {
  const { status, headers, body } = toHttpError(error, requestId);
  const text = JSON.stringify(body);
  response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(text), connection: "close" });
  response.end(text);
  request.unpipe();
  request.resume();
}

type Facts = {
  readonly status: number;
  readonly outcome: Usage["outcome"];
  readonly bytes: ByteCount;
  readonly tokens: ModelTokens | undefined;
  readonly key: ModelKey | undefined;
};

function usageOf(
  deps: ModelProxyDeps,
  upstream: Upstream,
  claims: SessionClaims,
  request: IncomingMessage,
  { status, outcome, bytes, tokens, key }: Facts,
): Usage {
  return {
    id: newId("sevt"),
    proxy: "model",
    session: claims.session,
    workspace: claims.workspace,
    tokenId: claims.tokenId,
    credentialId: outcome === "refused" ? "" : (key?.id ?? ""),
    ...(tokens ?? {}),
    host: upstream.host,
    method: request.method ?? "",
    path: (request.url ?? "").split("?")[0]?.slice(0, 512) ?? "",
    status,
    requestBytes: bytes.sent,
    responseBytes: bytes.received,
    outcome,
    atMs: deps.clock.nowMs(),
  };
}
