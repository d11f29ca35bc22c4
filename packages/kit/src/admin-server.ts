import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { formatAddress, parseAddress } from "./address.ts";
import { withDeadline } from "./deadline.ts";
import { AppError, toAppError } from "./errors.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import { redactText } from "./redact.ts";

/** Checks whether something needed answers; false or a rejection means no. The signal aborts at the check's deadline. */
export type ReadyCheck = (signal: AbortSignal) => Promise<boolean> | boolean;

/** Options of `createAdminServer`. */
export type AdminServerOptions = {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
  /** What /version answers. */
  readonly version: Readonly<Record<string, string>>;
  /** Dependencies by name; /readyz asks all of them, each for at most 2 s. */
  readonly checks?: Readonly<Record<string, ReadyCheck>>;
};

const CHECK_DEADLINE_MS = 2000;

/**
 * Plain HTTP for operators: GET /healthz (the process lives), /readyz (ready, with each dependency; 503 when not),
 * /metrics (Prometheus), /version. Answers until the last phase of a stop, so that a draining service can be watched.
 */
export async function createAdminServer(options: AdminServerOptions): Promise<{ readonly address: string }> {
  const wanted = parseAddress(options.listen);
  if (!wanted) {
    throw AppError.invalid([{ field: "listen", description: `must be host:port, got ${options.listen}` }]);
  }
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      options.logger.error({ err: error, url: request.url }, "admin request failed");
      send(response, 500, { error: toAppError(error).message });
    });
  });
  server.requestTimeout = 10_000;
  server.maxConnections = 256;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(AppError.unavailable("LISTEN_FAILED", `cannot listen on ${options.listen}: ${error.message}`, error));
    });
    server.listen(wanted.port, wanted.host, resolve);
  });
  const bound = server.address();
  const port = typeof bound === "object" && bound ? bound.port : wanted.port;
  options.lifecycle.onStop("admin server", () => {
    return new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  });
  return { address: formatAddress({ host: wanted.host, port }) };
}

async function answer(options: AdminServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? "/").split("?")[0];
  if (request.method !== "GET" && request.method !== "HEAD") {
    send(response, 405, { error: "only GET is served here" });
    return;
  }
  switch (path) {
    case "/healthz":
      send(response, 200, { status: "ok" });
      return;
    case "/readyz": {
      const checks = await runChecks(options);
      const ready = options.lifecycle.ready && Object.values(checks).every((check) => check.ok);
      send(response, ready ? 200 : 503, { ready, serving: options.lifecycle.ready, checks });
      return;
    }
    case "/metrics": {
      const text = await options.metrics.registry.metrics();
      response.writeHead(200, { "content-type": options.metrics.registry.contentType }).end(text);
      return;
    }
    case "/version":
      send(response, 200, options.version);
      return;
    default:
      send(response, 404, { error: "serves /healthz, /readyz, /metrics and /version" });
  }
}

type CheckResult = { readonly ok: boolean; readonly error?: string };

async function runChecks(options: AdminServerOptions): Promise<Record<string, CheckResult>> {
  const entries = Object.entries(options.checks ?? {}).map(async ([name, check]) => {
    try {
      const ok = await withDeadline(CHECK_DEADLINE_MS, name, async (signal) => check(signal));
      return [name, { ok }] as const;
    } catch (error) {
      return [name, { ok: false, error: redactText(error instanceof Error ? error.message : String(error)) }] as const;
    }
  });
  return Object.fromEntries(await Promise.all(entries));
}

function send(response: ServerResponse, code: number, body: unknown): void {
  if (!response.headersSent) {
    response.writeHead(code, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
  }
}
