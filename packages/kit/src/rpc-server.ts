import { Server, ServerCredentials } from "@grpc/grpc-js";
import { formatAddress, parseAddress } from "./address.ts";
import { systemClock } from "./clock.ts";
import { AppError } from "./errors.ts";
import { createHealth, type Health } from "./health.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Logger } from "./logger.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { createReflection } from "./reflection.ts";
import { bindHandler } from "./rpc-bind.ts";
import { methodDefinitions } from "./rpc-definition.ts";
import type { Implemented } from "./rpc-handlers.ts";
import { MAX_MESSAGE_BYTES } from "./rpc-types.ts";

/** Options of `createRpcServer`. */
export type RpcServerOptions = {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly services: readonly Implemented[];
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  readonly metrics?: Metrics;
  /** After this many milliseconds a client is asked to connect again, so that new replicas get traffic; default 5 min. */
  readonly maxConnectionAgeMs?: number;
  /** Whether to answer reflection; default true. */
  readonly reflection?: boolean;
};

/** A listening server. It stops with its lifecycle. */
export type RpcServer = {
  /** The real `host:port`. */
  readonly address: string;
  readonly health: Health;
};

/** What stays of the drain time for calls that are told to end to do so. */
const KILL_MARGIN_MS = 500;

/** How long a stopping server still listens, so that probes see NOT_SERVING and not just a closed port. */
const MAX_NOTICE_MS = 250;

/**
 * Starts a gRPC server with health and reflection beside the given services. On stop: health NOT_SERVING at once and
 * streams end with UNAVAILABLE; after a short notice the port closes and connections are asked to go; running unary
 * calls may finish until the drain deadline; then the rest is ended with UNAVAILABLE, and last the sockets are closed
 * by force.
 */
export async function createRpcServer(options: RpcServerOptions): Promise<RpcServer> {
  const { lifecycle, services } = options;
  const logger = options.logger.child({ part: "rpc" });
  const metrics = options.metrics ?? createMetrics();
  const kill = new AbortController();
  const server = new Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.max_connection_age_ms": options.maxConnectionAgeMs ?? 300_000,
    "grpc.max_connection_age_grace_ms": 3_600_000,
    "grpc.enable_channelz": 0,
  });
  const health = createHealth(
    services.map(({ service }) => service.typeName),
    lifecycle,
  );
  const own = [...services, health.service];
  const all = options.reflection === false ? own : [...own, ...createReflection(own.map(({ service }) => service))];
  for (const { service, handlers } of all) {
    const bound = [...handlers].map(([method, handler]) => {
      // Health ends its watches by itself, after it has told them NOT_SERVING.
      const stopSignal = service === health.service.service ? kill.signal : lifecycle.signal;
      const bindOptions = { logger, metrics, stopSignal, killSignal: kill.signal };
      return [method.localName, bindHandler(method, handler, bindOptions)] as const;
    });
    server.addService(methodDefinitions(service), Object.fromEntries(bound));
  }
  const address = await bind(server, options.listen);
  const noticeMs = Math.min(MAX_NOTICE_MS, lifecycle.drainMs / 10);
  lifecycle.onStop("rpc notice", (signal) => systemClock.sleep(noticeMs, signal), { phase: "accept" });
  lifecycle.onStop(`rpc server ${address}`, () => stopServer(server, kill, lifecycle.drainMs), {
    phase: "drain",
    deadlineMs: lifecycle.drainMs + KILL_MARGIN_MS * 4,
  });
  logger.debug({ address }, "listening");
  return { address, health };
}

function bind(server: Server, listen: string): Promise<string> {
  const wanted = parseAddress(listen);
  if (!wanted) {
    throw AppError.invalid([{ field: "listen", description: `must be host:port, got ${listen}` }]);
  }
  return new Promise((resolve, reject) => {
    server.bindAsync(formatAddress(wanted), ServerCredentials.createInsecure(), (error, port) => {
      if (error) {
        reject(AppError.unavailable("LISTEN_FAILED", `cannot listen on ${listen}: ${error.message}`, error));
      } else {
        resolve(formatAddress({ host: wanted.host, port }));
      }
    });
  });
}

async function stopServer(server: Server, kill: AbortController, drainMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  const killer = setTimeout(() => {
    kill.abort(AppError.unavailable("SHUTTING_DOWN", "the service is shutting down"));
  }, drainMs);
  const closer = setTimeout(() => server.forceShutdown(), drainMs + KILL_MARGIN_MS);
  try {
    await closed;
  } finally {
    clearTimeout(killer);
    clearTimeout(closer);
    server.forceShutdown();
  }
}
