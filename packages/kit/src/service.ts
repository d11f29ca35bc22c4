import { hostname } from "node:os";
import { type AdminServerOptions, createAdminServer } from "./admin-server.ts";
import type { EnvReader } from "./env.ts";
import { newId } from "./ids.ts";
import { createLifecycle, type Lifecycle, type StopReport } from "./lifecycle.ts";
import { createLogger, LOG_LEVELS, type Logger, type LogLevel } from "./logger.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import type { Implemented } from "./rpc-handlers.ts";
import { createRpcServer } from "./rpc-server.ts";

/** Settings every service has. */
export type ServiceConfig = {
  /** Where gRPC listens. */
  readonly grpcListen: string;
  /** Where the admin HTTP server listens. */
  readonly adminListen: string;
  readonly logLevel: LogLevel;
  /** Names this replica in logs and in the log's facts. */
  readonly instanceId: string;
  /** How long running work may take to finish on a stop, in milliseconds. */
  readonly drainMs: number;
};

/** Reads `MH_GRPC_LISTEN`, `MH_ADMIN_LISTEN`, `MH_LOG_LEVEL`, `MH_INSTANCE_ID`, `MH_DRAIN_MS`. */
export function readServiceConfig(reader: EnvReader): ServiceConfig {
  return {
    grpcListen: reader.address("MH_GRPC_LISTEN", {
      default: "127.0.0.1:0",
      doc: "Where gRPC listens; port 0 = any free.",
    }),
    adminListen: reader.address("MH_ADMIN_LISTEN", {
      default: "127.0.0.1:0",
      doc: "Where /healthz, /readyz, /metrics and /version listen.",
    }),
    logLevel: reader.oneOf("MH_LOG_LEVEL", LOG_LEVELS, { default: "info", doc: "The least level that is logged." }),
    instanceId: reader.string("MH_INSTANCE_ID", {
      default: `${hostname()}-${newId("i").slice(-6)}`,
      doc: "Names this replica; made up when absent.",
    }),
    drainMs: reader.integer("MH_DRAIN_MS", {
      default: 10_000,
      min: 0,
      max: 600_000,
      doc: "How long running work may take to finish on a stop.",
    }),
  };
}

/** A service config for tests: free loopback ports, silent, quick to stop. */
export function testServiceConfig(overrides: Partial<ServiceConfig> = {}): ServiceConfig {
  return {
    grpcListen: "127.0.0.1:0",
    adminListen: "127.0.0.1:0",
    logLevel: "silent",
    instanceId: newId("test"),
    drainMs: 2000,
    ...overrides,
  };
}

/** What a service's parts share: one of each per service, also when several services run in one process. */
export type Shell = {
  readonly name: string;
  readonly instanceId: string;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
};

/** A server that can be started once; `addresses` names what listens where, for example `{grpc, admin}`. */
export type ServiceServer = { start(): Promise<{ readonly addresses: Readonly<Record<string, string>> }> };

/** The three steps of every service; `overrides` replaces single dependencies in tests. */
export type ServiceParts<Config extends { readonly service: ServiceConfig }, Deps, Overrides = Partial<Deps>> = {
  createDeps(config: Config, shell: Shell, overrides?: Overrides): Promise<Deps> | Deps;
  createServer(config: Config, deps: Deps, shell: Shell): Promise<ServiceServer> | ServiceServer;
};

/** A service that runs. */
export type RunningService<Deps> = {
  readonly addresses: Readonly<Record<string, string>>;
  readonly deps: Deps;
  readonly shell: Shell;
  /** Stops in order; the same promise however often it is called. */
  stop(reason?: string): Promise<StopReport>;
};

/** How `startService` differs from production. */
export type StartOptions<Overrides> = {
  readonly overrides?: Overrides;
  /** Default: a logger on standard output at the config's level. */
  readonly logger?: Logger;
  /** Adds memory, CPU and event-loop metrics; only one service per process should. */
  readonly processMetrics?: boolean;
};

/** Builds the deps, starts the server, reports ready. What was opened is stopped again when a step fails. */
export async function startService<Config extends { readonly service: ServiceConfig }, Deps, Overrides = Partial<Deps>>(
  name: string,
  parts: ServiceParts<Config, Deps, Overrides>,
  config: Config,
  options: StartOptions<Overrides> = {},
): Promise<RunningService<Deps>> {
  const { logLevel, instanceId, drainMs } = config.service;
  const logger = options.logger ?? createLogger({ service: name, level: logLevel, fields: { instance: instanceId } });
  const lifecycle = createLifecycle({ logger, drainMs });
  const metrics = createMetrics({ processMetrics: options.processMetrics ?? false });
  const shell: Shell = { name, instanceId, logger, lifecycle, metrics };
  try {
    const deps = await parts.createDeps(config, shell, options.overrides);
    const server = await parts.createServer(config, deps, shell);
    const { addresses } = await server.start();
    lifecycle.setReady(true);
    return { addresses, deps, shell, stop: (reason = "asked to stop") => lifecycle.stop(reason) };
  } catch (error) {
    await lifecycle.stop("the start failed");
    throw error;
  }
}

/** What `createServiceServer` serves. */
export type ServiceServerOptions = {
  readonly config: ServiceConfig;
  readonly shell: Shell;
  readonly services: readonly Implemented[];
  /** Dependencies /readyz asks about. */
  readonly checks?: AdminServerOptions["checks"];
  /** Shown at /version besides the service's name and instance. */
  readonly version?: Readonly<Record<string, string>>;
};

/** The usual server of a service: gRPC and admin on the config's addresses. */
export function createServiceServer(options: ServiceServerOptions): ServiceServer {
  const { config, shell, services, checks = {}, version = {} } = options;
  const { logger, lifecycle, metrics, name, instanceId } = shell;
  return {
    async start() {
      const admin = await createAdminServer({
        listen: config.adminListen,
        logger,
        lifecycle,
        metrics,
        checks,
        version: { service: name, instance: instanceId, node: process.version, ...version },
      });
      const rpc = await createRpcServer({ listen: config.grpcListen, services, logger, lifecycle, metrics });
      return { addresses: { grpc: rpc.address, admin: admin.address } };
    },
  };
}
