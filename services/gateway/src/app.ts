/**
 * The HTTP application: order of the hooks, one answer per operation of the table, and Anthropic-shaped errors for
 * everything else that can arrive. No request ends in 500 because of what a client sent.
 */

import { AppError, type CallOptions, newId, type Shell, toAppError } from "@manyhands/kit";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import type { Caller } from "./api-keys.ts";
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";
import { checkAccess } from "./http/access.ts";
import { authenticate } from "./http/auth.ts";
import { answerBrokenRequest } from "./http/broken-request.ts";
import type { Call } from "./http/call.ts";
import { errorAnswer } from "./http/error-answer.ts";
import { parseJsonBody } from "./http/json-body.ts";
import { parseQuery } from "./http/query.ts";
import { workTokens } from "./http/work-tokens.ts";
import { operations } from "./operations.ts";
import { brainCall } from "./routes/brain-calls.ts";
import { handlersOf, streamHandlersOf } from "./routes.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** Aborts when the client goes away before the answer is complete. */
    goneSignal: AbortSignal | undefined;
    /** The body as it came in, for recognising retries. */
    rawBody: string;
  }
}

/** A slow sender may take this long for its whole request. */
const REQUEST_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_MS = 75_000;
const MAX_PARAM_CHARACTERS = 256;

const securityHeaders = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cache-control": "no-store",
};

/** The application, not listening yet. */
export function createApp(config: Config, deps: Deps, shell: Shell): FastifyInstance {
  const logger = shell.logger.child({ part: "http" });
  const app = fastify({
    logger: false,
    bodyLimit: config.limits.bodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: "idle",
    genReqId: () => newId("req"),
    requestIdHeader: false,
    routerOptions: {
      maxParamLength: MAX_PARAM_CHARACTERS,
      ignoreTrailingSlash: true,
      // Parsed by `parseQuery`, which knows how the official clients write lists.
      querystringParser: () => ({}),
    },
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => answerError(error, request, reply),
  });
  app.decorateRequest("goneSignal", undefined);
  app.decorateRequest("rawBody", "");
  acceptJson(app);
  acceptFiles(app);

  app.addHook("onRequest", async (request, reply) => {
    reply.headers({ ...securityHeaders, "request-id": request.id });
    request.goneSignal = goneSignal(reply);
  });
  app.addHook("onResponse", async (request, reply) => {
    const { method, routeOptions } = request;
    const facts = { method, route: routeOptions.url ?? "unknown", status: reply.statusCode, request_id: request.id };
    logger.debug({ ...facts, ms: Math.round(reply.elapsedTime * 10) / 10 }, "answered");
  });

  const answerError = (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const error = toAppError(thrown);
    const answer = errorAnswer(thrown, request.id);
    if (answer.status >= 500 && error.kind !== "unimplemented") {
      logger.error({ err: error, request_id: request.id, route: request.routeOptions?.url }, "a request failed");
    }
    return reply
      .code(answer.status)
      .headers({ ...securityHeaders, ...answer.headers })
      .send(answer.body);
  };
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((request) => {
    throw notFound(app, request);
  });

  mountOperations(app, config, deps, shell);
  mountBrainCalls(app, deps, shell);
  app.get("/", async () => welcome);
  return app;
}

const welcome = {
  name: "manyhands",
  description: "Self-hosted platform for managed agents. Point the official SDK's baseURL here.",
  docs: "README.md, ARCHITECTURE.md and proto/ of the checkout this runs from",
  api: "/v1",
};

/** Every body is bytes first: one place decides what JSON is, also for an empty body with a JSON content type. */
function acceptJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    /^application\/([\w.+-]+\+)?json\b/i,
    { parseAs: "buffer" },
    async (request: FastifyRequest, body: Buffer) => {
      request.rawBody = body.toString("utf8");
      return parseJsonBody(body);
    },
  );
}

/** The one body that is not read before its operation asks for it. */
function acceptFiles(app: FastifyInstance): void {
  app.addContentTypeParser(/^multipart\/form-data\b/i, async (request: FastifyRequest, payload: unknown) => {
    if (request.routeOptions.url === "/v1/files") return payload;
    const message = "content-type: must be application/json";
    throw new AppError("invalid", { reason: "UNSUPPORTED_MEDIA_TYPE", message });
  });
}

function mountOperations(app: FastifyInstance, config: Config, deps: Deps, shell: Shell): void {
  const handlers = handlersOf(deps);
  const streams = streamHandlersOf(config, deps, shell.lifecycle.signal);
  for (const { op, method, path } of operations) {
    const handler = handlers[op];
    const stream = streams[op];
    app.route({
      method,
      url: path.replaceAll(/\{(\w+)\}/g, ":$1"),
      exposeHeadRoute: false,
      // Who asks comes before what is asked: no body is read for a stranger.
      onRequest: async (request) => {
        const caller = await authenticate(deps.apiKeys, workTokens(deps, op), request);
        checkAccess(caller, op, (name) => paramsOf(request)[name]);
        callers.set(request, caller);
        if (handler === undefined && stream === undefined) throw AppError.unimplemented(`${op} is not served yet`);
      },
      handler: async (request, reply) => {
        const call = callOf(request, reply, deps, shell);
        if (stream !== undefined) await stream({ ...call, request, reply });
        else if (handler !== undefined) {
          // The library would send an empty body for null.
          return (await handler(call)) ?? reply.type("application/json; charset=utf-8").send("null");
        }
        return reply;
      },
    });
  }
}

/** The extension for harnesses that speak HTTP. */
function mountBrainCalls(app: FastifyInstance, deps: Deps, shell: Shell): void {
  const handler = brainCall(deps);
  app.route({
    method: "POST",
    url: "/x/rpc/:service/:method",
    onRequest: async (request) => {
      const caller = await authenticate(deps.apiKeys, async () => undefined, request);
      checkAccess(caller, undefined, () => undefined);
      callers.set(request, caller);
    },
    handler: async (request, reply) => handler(callOf(request, reply, deps, shell)),
  });
}

/** Caller by request; set by the authentication hook, which runs before any handler. */
const callers = new WeakMap<FastifyRequest, Caller>();

function callOf(request: FastifyRequest, reply: FastifyReply, deps: Deps, shell: Shell): Call {
  const caller = callers.get(request);
  if (caller === undefined) throw AppError.unauthenticated("an API key is required");
  const signal = request.goneSignal ?? goneSignal(reply);
  const header = (name: string) => {
    const value = request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
  const params = paramsOf(request);
  const path = request.url.split("?")[0] ?? "";
  const rpc: CallOptions = { signal, metadata: { "x-request-id": request.id } };
  return {
    caller,
    requestId: request.id,
    query: parseQuery(request.url.split("?").slice(1).join("?")),
    body: request.body,
    signal,
    rpc,
    header,
    param: (name) => checkedId(name, params[name] ?? ""),
    logger: shell.logger.child({ request_id: request.id, workspace: caller.workspaceId }),
    identity: () => {
      const identity = deps.retryMemory.identify({
        scope: `${caller.keyId} ${request.method} ${path}`,
        body: request.rawBody,
        idempotencyKey: idempotencyKey(header("idempotency-key")),
        retryCount: Number.parseInt(header("x-stainless-retry-count") ?? "0", 10) || 0,
      });
      reply.raw.once("finish", () => {
        if (reply.statusCode < 400) identity.settled();
      });
      return identity;
    },
  };
}

function paramsOf(request: FastifyRequest): Readonly<Record<string, string | undefined>> {
  return request.params as Readonly<Record<string, string>>; // the router gives text by name
}

/** Ids become bus subjects further down; nothing else can name an existing thing. */
function checkedId(name: string, value: string): string {
  if (/^[A-Za-z0-9_-]{1,128}$/.test(value)) return value;
  throw AppError.notFound(name, value.slice(0, 64).replaceAll(/[^\w.-]/g, "?"));
}

function idempotencyKey(value: string | undefined): string | undefined {
  if (value === undefined || value === "") return undefined;
  if (value.length > 255) {
    throw AppError.invalid([{ field: "idempotency-key", description: "must have at most 255 characters" }]);
  }
  return value;
}

function goneSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) controller.abort(AppError.cancelled("the client went away"));
  });
  return controller.signal;
}

function notFound(app: FastifyInstance, request: FastifyRequest): AppError {
  const path = request.url.split("?")[0] ?? "";
  const methods = (["GET", "POST", "DELETE"] as const).filter(
    (method) => app.findRoute({ method, url: path }) !== null,
  );
  const served = methods.length > 0 ? methods : matchingMethods(path);
  if (served.length > 0) {
    const message = `${request.method} is not served on this path; use ${served.join(" or ")}`;
    return new AppError("invalid", { reason: "METHOD_NOT_ALLOWED", message });
  }
  return new AppError("notFound", { reason: "PATH_NOT_FOUND", message: "no such path; the API is under /v1" });
}

function matchingMethods(path: string): string[] {
  const parts = path.replace(/\/$/, "").split("/");
  const matches = operations.filter((operation) => {
    const wanted = operation.path.split("/");
    return (
      wanted.length === parts.length && wanted.every((part, index) => part.startsWith("{") || part === parts[index])
    );
  });
  return [...new Set(matches.map((operation) => operation.method))];
}
