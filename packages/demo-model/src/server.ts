import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ApiError } from "./api-error.ts";
import { FaultCounter } from "./fault-counter.ts";
import { Journal, type JournalEntry } from "./journal.ts";
import { loadScenarioDir, parseScenarios } from "./load-scenarios.ts";
import { countTokens, type Model, planMessage, sendMessage } from "./messages-route.ts";
import { getModel, listModels } from "./models-route.ts";
import { readBody } from "./read-body.ts";
import { ResponseEnded, ResponseWriter } from "./response-writer.ts";
import { type Fault, faultSchema, type Scenario, type ScenarioInput } from "./scenario-schema.ts";
import { PromptCache } from "./usage.ts";

/** A failure as a test writes it: `{status: 529}`, `{kind: "cut", after_bytes: 300}` … */
export type FaultInput = Record<string, unknown>;

/** Where log lines go; a pino logger fits. */
export type DemoModelLog = {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
};

/** Settings of {@link createDemoModel}. */
export type DemoModelOptions = {
  /** `host:port`; port 0 picks a free one. Default `127.0.0.1:0`. */
  readonly listen?: string;
  /** Scenarios in code; give this or `scenarioDir`. */
  readonly scenarios?: readonly ScenarioInput[];
  /** Directory of `*.yaml` files. Default: the scenarios of this package. */
  readonly scenarioDir?: string;
  /** The only accepted key; without it any non-empty key is accepted. */
  readonly requiredKey?: string;
  /** Speed of scenarios that name none, in estimated tokens per second. Default: as fast as the client reads. */
  readonly tokensPerSecond?: number;
  /** Requests kept in the journal, newest win. Default 1000; bodies are bounded to 256 MiB in all. */
  readonly journalSize?: number;
  /** Called with every request before it is answered; may return a failure to play instead of the scenario's. */
  readonly onRequest?: (entry: JournalEntry) => undefined | FaultInput | Promise<undefined | FaultInput>;
  readonly log?: DemoModelLog;
};

/** A running demo model. */
export type DemoModel = {
  /** Base URL for `ANTHROPIC_BASE_URL`, without a path. */
  readonly url: string;
  /** `host:port`. */
  readonly address: string;
  /** The newest requests, oldest first. */
  readonly requests: readonly JournalEntry[];
  /** Forgets the journal; the prompt cache and fault counts stay. */
  clearRequests(): void;
  /** Refuses new connections, lets running answers finish for `drainMs` (default 0), then drops them. Idempotent. */
  close(drainMs?: number): Promise<void>;
};

/** Starts the server. Throws a `ScenarioError` for bad scenarios, and the system's error when it cannot listen. */
export async function createDemoModel(options: DemoModelOptions = {}): Promise<DemoModel> {
  const scenarios = readScenarios(options);
  const journal = new Journal(options.journalSize ?? 1000);
  const model: Model = {
    scenarios,
    extraToolNames: new Set(scenarios.flatMap(unknownTools)),
    cache: new PromptCache(),
    faults: new FaultCounter(),
    tokensPerSecond: options.tokensPerSecond,
  };
  const stopped = new AbortController();
  const context: Context = { options, model, journal, stopped: stopped.signal, count: 0 };
  const server = createServer((request, response) => {
    void answer(context, request, response);
  });
  const address = await listen(server, options.listen ?? "127.0.0.1:0");
  options.log?.info({ address, scenarios: scenarios.map((scenario) => scenario.name) }, "demo model is listening");
  let closing: Promise<void> | undefined;
  return {
    url: `http://${address}`,
    address,
    requests: journal.entries,
    clearRequests: () => journal.clear(),
    close: (drainMs = 0) => (closing ??= closeServer(server, stopped, drainMs)),
  };
}

type Context = {
  readonly options: DemoModelOptions;
  readonly model: Model;
  readonly journal: Journal;
  readonly stopped: AbortSignal;
  count: number;
};

/** Answers one request; never rejects. */
async function answer(context: Context, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const headAtMs = performance.now();
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  response.once("error", () => gone.abort());
  const signal = AbortSignal.any([gone.signal, context.stopped]);
  context.count += 1;
  const requestId = `req_demo${String(context.count).padStart(8, "0")}`;
  const path = request.url ?? "/";
  let entry: JournalEntry | undefined;
  try {
    const body = await readBody(request);
    entry = {
      requestId,
      method: request.method ?? "GET",
      path,
      headers: flatHeaders(request),
      headAtMs,
      headAtEpochMs: performance.timeOrigin + headAtMs,
      bodyAtMs: performance.now(),
      body,
      answer: {},
    };
    if (path !== "/healthz") context.journal.add(entry);
    await route(context, entry, response, signal);
  } catch (error) {
    fail(context, error, response, requestId, entry);
  } finally {
    if (entry !== undefined) {
      entry.answer.endedAtMs = performance.now();
      entry.answer.ending ??= gone.signal.aborted ? "aborted" : "complete";
      const { scenario, step, status, ending } = entry.answer;
      context.options.log?.info(
        { requestId, method: request.method, path, scenario, step, status, ending },
        "answered",
      );
    }
  }
}

async function route(
  context: Context,
  entry: JournalEntry,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const url = new URL(entry.path, "http://demo-model");
  if (url.pathname === "/healthz") return sendJson(entry, response, { status: "ok" });
  checkKey(context.options.requiredKey, entry.headers);
  const id = /^\/v1\/models\/([^/]+)$/.exec(url.pathname)?.[1];
  const expected = url.pathname.startsWith("/v1/models") ? "GET" : "POST";
  const isKnown =
    id !== undefined || ["/v1/models", "/v1/messages", "/v1/messages/count_tokens"].includes(url.pathname);
  if (!isKnown) throw new ApiError("not_found_error", "Not Found");
  if (entry.method !== expected) throw new ApiError("invalid_request_error", "Method Not Allowed", { status: 405 });
  if (entry.headers["anthropic-version"] === undefined) throw ApiError.invalid("anthropic-version: header is required");
  const given = await context.options.onRequest?.(entry);
  const forced: Fault | undefined = given === undefined ? undefined : faultSchema.parse(given);
  if (id !== undefined) return sendJson(entry, response, getModel(decodeURIComponent(id)));
  if (url.pathname === "/v1/models") return sendJson(entry, response, listModels(url.searchParams));
  const text = Buffer.from(entry.body).toString("utf8");
  const body = parseJson(text);
  if (url.pathname === "/v1/messages/count_tokens") return sendJson(entry, response, countTokens(context.model, body));
  const plan = planMessage(context.model, body, text, entry, forced);
  const writer = new ResponseWriter(response, entry, plan.fault, signal);
  await sendMessage(plan, writer, entry.requestId, signal);
}

/** Turns whatever went wrong into an envelope, unless the response is already under way or over. */
function fail(
  context: Context,
  error: unknown,
  response: ServerResponse,
  requestId: string,
  entry: JournalEntry | undefined,
): void {
  if (error instanceof ResponseEnded) return;
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const known = error instanceof ApiError ? error : new ApiError("api_error", "Internal server error");
  if (error !== known) context.options.log?.warn({ requestId, error: String(error) }, "request failed");
  if (entry !== undefined) entry.answer.status = known.status;
  const headers = { ...known.headers, "content-type": "application/json", "request-id": requestId };
  response.writeHead(known.status, headers).end(JSON.stringify(known.envelope(requestId)));
}

function sendJson(entry: JournalEntry, response: ServerResponse, body: object): void {
  entry.answer.status = 200;
  entry.answer.firstByteAtMs = performance.now();
  response
    .writeHead(200, { "content-type": "application/json", "request-id": entry.requestId })
    .end(JSON.stringify(body));
}

function checkKey(required: string | undefined, headers: Readonly<Record<string, string>>): void {
  const bearer = /^Bearer\s+(.+)$/i.exec(headers.authorization ?? "")?.[1];
  const key = headers["x-api-key"] ?? bearer;
  if (key === undefined || key === "") throw new ApiError("authentication_error", "x-api-key header is required");
  if (required !== undefined && key !== required) {
    throw new ApiError("authentication_error", bearer === key ? "Invalid bearer token" : "invalid x-api-key");
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw ApiError.invalid(
      `The request body is not valid JSON: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function readScenarios(options: DemoModelOptions): Scenario[] {
  return options.scenarios === undefined ? loadScenarioDir(options.scenarioDir) : parseScenarios(options.scenarios);
}

function unknownTools(scenario: Scenario): string[] {
  const blocks = scenario.steps.flatMap((step) => step.emit);
  return blocks.flatMap((block) => ("tool_use" in block && block.tool_use.allow_unknown ? [block.tool_use.name] : []));
}

function flatHeaders(request: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(request.headersDistinct).map(([name, values]) => [name, (values ?? []).join(", ")]),
  );
}

async function listen(server: Server, target: string): Promise<string> {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(target);
  const host = found?.[1] ?? found?.[2];
  if (host === undefined) throw new Error(`listen: "${target}" is not host:port`);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(Number(found?.[3]), host, resolve);
  });
  const { port } = server.address() as AddressInfo; // A TCP server's address is never a string.
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

async function closeServer(server: Server, stopped: AbortController, drainMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => {
    stopped.abort();
    server.closeAllConnections();
  }, drainMs);
  await closed;
  clearTimeout(timer);
  stopped.abort();
}
