/**
 * The model API for sessions: the session token is taken off, the real key put on, and everything else, above all the
 * stream, passes untouched.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { AppError, type Clock, type Logger, newId, type Secret, toAppError, toHttpError } from "@manyhands/kit";
import type { Dispatcher } from "undici";
import { BodyTooLarge, type ByteCount, ClientGone, clientGone, failureCode, sendBack, sendOn } from "../http/relay.ts";
import { type SessionSlots, sessionSlots } from "../http/session-slots.ts";
import { type CleanHeaders, passHeaders, withoutSecret } from "../policy/headers.ts";
import type { SessionGuard } from "../tokens/session-guard.ts";
import type { SessionClaims } from "../tokens/session-tokens.ts";
import type { Usage, UsageSink } from "../usage/usage.ts";
import { parseModelRequest } from "./model-request.ts";

/** What the proxy needs. */
export type ModelProxyDeps = {
  readonly guard: Pick<SessionGuard, "admit" | "onRevoked">;
  /** Base URL of the model API; a path prefix is kept. */
  readonly upstreamUrl: string;
  /** Absent: the upstream asks for none (the demo model). */
  readonly apiKey: Secret | undefined;
  readonly dispatcher: Dispatcher;
  readonly usage: UsageSink;
  readonly logger: Logger;
  readonly clock: Pick<Clock, "nowMs">;
};

/** Longest request body, as the hosted API has it. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;
/** A session with many threads asks many times at once; more than this is a runaway. */
const REQUESTS_PER_SESSION = 64;
const RETRY_AFTER_MS = 1000;
const MAX_HEADER_BYTES = 64 * 1024;
const HEADERS_MS = 10_000;
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
  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, insecureHTTPParser: false }, (request, response) => {
    serve(deps, target, slots, request, response).catch((error: unknown) => {
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

async function serve(
  deps: ModelProxyDeps,
  upstream: Upstream,
  slots: SessionSlots,
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
  try {
    const answer = await ask(deps, upstream, request, bytes, gone.signal);
    status = answer.statusCode;
    if (status >= 300 && status < 400) {
      answer.body.on("error", () => undefined).destroy();
      throw AppError.unavailable(
        "UPSTREAM_REDIRECT",
        "the model API answered with a redirect, which is never followed",
      );
    }
    const headers = withoutSecret(passHeaders(answer.headers), deps.apiKey?.reveal() ?? "");
    await sendBack(answer, response, headers, bytes);
    outcome = "served";
  } catch (thrown) {
    outcome = thrown instanceof AppError && thrown.kind === "notFound" ? "refused" : "failed";
    if (gone.signal.aborted || response.headersSent) {
      outcome = gone.signal.aborted ? "aborted" : "failed";
      response.destroy();
    } else {
      answerError(response, request, explain(thrown, upstream), requestId);
    }
    deps.logger.debug({ session: claims.session, code: failureCode(thrown), outcome }, "a model exchange failed");
  } finally {
    stopListening();
    giveBack();
    deps.usage.record(usageOf(deps, upstream, claims, request, { status, outcome, bytes }));
  }
}

function ask(
  deps: ModelProxyDeps,
  upstream: Upstream,
  request: IncomingMessage,
  bytes: ByteCount,
  signal: AbortSignal,
) {
  const wanted = parseModelRequest(request.method ?? "", request.url ?? "");
  if (!wanted) {
    throw new AppError("notFound", {
      reason: "NOT_A_MODEL_REQUEST",
      message: "only POST /v1/messages, POST /v1/messages/count_tokens and GET /v1/models are served here",
    });
  }
  const outgoing = {
    origin: upstream.origin,
    path: `${upstream.prefix}${wanted.path}`,
    method: wanted.method,
    headers: withKey(passHeaders(request.headers), deps.apiKey),
    maxBodyBytes: MAX_BODY_BYTES,
  };
  return sendOn(deps.dispatcher, request, outgoing, bytes, signal);
}

function withKey(headers: CleanHeaders, apiKey: Secret | undefined): CleanHeaders {
  return apiKey ? { ...headers, "x-api-key": apiKey.reveal() } : headers;
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

type Facts = { readonly status: number; readonly outcome: Usage["outcome"]; readonly bytes: ByteCount };

function usageOf(
  deps: ModelProxyDeps,
  upstream: Upstream,
  claims: SessionClaims,
  request: IncomingMessage,
  { status, outcome, bytes }: Facts,
): Usage {
  return {
    id: newId("sevt"),
    proxy: "model",
    session: claims.session,
    workspace: claims.workspace,
    tokenId: claims.tokenId,
    credentialId: deps.apiKey && outcome !== "refused" ? "platform" : "",
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
