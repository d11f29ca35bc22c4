import { existsSync } from "node:fs";
import { join } from "node:path";
import type { HandsChoice } from "./hands-choice.ts";
import type { ProcessSpec } from "./managed-process.ts";
import { compiledDir, type Paths, rootDir } from "./paths.ts";

/** The services in the order they stop: nothing loses a service it still needs to finish its work. */
export const stopOrder = [
  "gateway",
  "harness",
  "sandbox-manager",
  "vault-proxy",
  "session-store",
  "demo-model",
  "nats",
] as const;
/** One part of the platform that runs as a process of its own. */
export type ServiceName = (typeof stopOrder)[number];

/** Everything that decides what is started and with which settings. */
export interface Plan {
  readonly paths: Paths;
  readonly ports: ReadonlyMap<string, number>;
  readonly natsBinary: string;
  readonly natsConfFile: string;
  readonly replicas: Replicas;
  readonly hands: HandsChoice;
  readonly modelUrl: string;
  /** Undefined when the upstream needs no key. */
  readonly modelKeyFile: string | undefined;
  /** Undefined when a real model is used. */
  readonly demoModelKey: string | undefined;
  readonly apiKeysFile: string;
  readonly vaultKeyFile: string;
  /** More settings per service, for tests; they win over ours. */
  readonly env: Partial<Record<ServiceName, Readonly<Record<string, string>>>>;
  readonly machineEnv: NodeJS.ProcessEnv;
}

/** How many processes of the services that scale. */
export interface Replicas {
  readonly harness: number;
  readonly sandboxManager: number;
}

const READY_MS = 30_000;
const DRAIN_MS = 4_000;
/** What any program on this machine may need; no secret is ever among these. */
const EVERY = ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "MH_LOG_LEVEL"];
/** Only the one service that leaves the machine needs to know how to. */
const NETWORK = [
  "MH_MCP_PRIVATE_RANGES",
  "MH_MCP_IDEMPOTENT_TOOLS",
  "NODE_EXTRA_CA_CERTS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "http_proxy",
  "https_proxy",
];

/** The names of every port this plan needs. */
export function portNames({ harness, sandboxManager }: Replicas): string[] {
  const numbered = (service: string, count: number) =>
    range(count).flatMap((index) => [`${service}-${index}.grpc`, `${service}-${index}.admin`]);
  return [
    "gateway-1.http",
    "nats.client",
    "nats.monitor",
    "demo-model-1.http",
    "vault-proxy-1.model",
    "vault-proxy-1.git",
    "vault-proxy-1.egress",
    ...["gateway", "session-store", "vault-proxy"].flatMap((service) => numbered(service, 1)),
    ...numbered("sandbox-manager", sandboxManager),
    ...numbered("harness", harness),
  ];
}

/** The address others reach a service at; several replicas are one comma-separated list. */
export function addressesOf(plan: Pick<Plan, "ports">, service: ServiceName, count: number): string {
  return range(count)
    .map((index) => loopback(plan, `${service}-${index}.grpc`))
    .join(",");
}

/** The waves in the order they start: each finds what it needs at its first try. */
export function processWaves(plan: Plan): ProcessSpec[][] {
  const { replicas } = plan;
  return [
    [natsSpec(plan)],
    [
      ...(plan.demoModelKey === undefined ? [] : [serviceSpec(plan, "demo-model", 1)]),
      serviceSpec(plan, "session-store", 1),
      serviceSpec(plan, "vault-proxy", 1),
    ],
    [
      ...range(replicas.sandboxManager).map((index) => serviceSpec(plan, "sandbox-manager", index)),
      ...range(replicas.harness).map((index) => serviceSpec(plan, "harness", index)),
      serviceSpec(plan, "gateway", 1),
    ],
  ];
}

/** The settings of one service, complete: what is not here, the process does not get. */
export function serviceEnv(plan: Plan, service: ServiceName, index: number): Record<string, string> {
  return {
    ...pick(plan.machineEnv, EVERY),
    NODE_COMPILE_CACHE: compiledDir,
    ...(service === "vault-proxy" ? networkEnv(plan.machineEnv) : {}),
    MH_INSTANCE_ID: `${service}-${index}`,
    MH_DRAIN_MS: String(DRAIN_MS),
    MH_READY_FILE: readyFile(plan, service, index),
    ...(service === "demo-model" ? {} : listenEnv(plan, service, index)),
    ...ownEnv(plan, service),
    ...plan.env[service],
  };
}

/**
 * A brain allocates in bursts and keeps little: without these the allocator and the young generation hold on to what
 * thousands of finished turns needed for a moment. Measured: 2 000 sessions that wait grow it by 8 MB instead of 80.
 */
const leanMemory = { NODE_OPTIONS: "--max-semi-space-size=4", MALLOC_ARENA_MAX: "2", MALLOC_TRIM_THRESHOLD_: "131072" };

/** A proxy is for the way out of the machine, never for our own loopback addresses. */
function networkEnv(machineEnv: NodeJS.ProcessEnv): Record<string, string> {
  const direct = [machineEnv.NO_PROXY ?? machineEnv.no_proxy ?? "", "127.0.0.1", "localhost"].filter(Boolean).join(",");
  return { ...pick(machineEnv, NETWORK), NO_PROXY: direct, no_proxy: direct };
}

function listenEnv(plan: Plan, service: ServiceName, index: number): Record<string, string> {
  return {
    MH_GRPC_LISTEN: loopback(plan, `${service}-${index}.grpc`),
    MH_ADMIN_LISTEN: loopback(plan, `${service}-${index}.admin`),
    // The gateway keeps nothing and publishes nothing: it has no way to the bus at all.
    ...(service === "gateway" ? {} : { MH_NATS_URL: natsUrl(plan) }),
  };
}

function ownEnv(plan: Plan, service: ServiceName): Record<string, string> {
  const sessionStore = { MH_SESSION_STORE_ADDR: addressesOf(plan, "session-store", 1) };
  const vaultProxy = { MH_VAULT_PROXY_ADDR: addressesOf(plan, "vault-proxy", 1) };
  const sandboxManager = {
    MH_SANDBOX_MANAGER_ADDR: addressesOf(plan, "sandbox-manager", plan.replicas.sandboxManager),
  };
  switch (service) {
    case "nats":
      return {};
    case "session-store":
      // It proves there that writes are synced before it becomes ready.
      return { MH_NATS_MONITOR_URL: `http://${loopback(plan, "nats.monitor")}` };
    case "demo-model":
      return {
        MH_DEMO_MODEL_LISTEN: loopback(plan, "demo-model-1.http"),
        ...(plan.demoModelKey === undefined ? {} : { MH_DEMO_MODEL_KEY: plan.demoModelKey }),
      };
    case "vault-proxy":
      return {
        ...sessionStore,
        MH_VAULT_KEY_FILE: plan.vaultKeyFile,
        MH_MODEL_LISTEN: loopback(plan, "vault-proxy-1.model"),
        MH_GIT_LISTEN: loopback(plan, "vault-proxy-1.git"),
        MH_EGRESS_LISTEN: loopback(plan, "vault-proxy-1.egress"),
        MH_MODEL_UPSTREAM_URL: plan.modelUrl,
        ...(plan.modelKeyFile === undefined ? {} : { MH_MODEL_API_KEY_FILE: plan.modelKeyFile }),
      };
    case "harness":
      return {
        ...leanMemory,
        ...sessionStore,
        ...vaultProxy,
        ...sandboxManager,
        MH_MODEL_PROXY_URL: `http://${loopback(plan, "vault-proxy-1.model")}`,
        MH_EGRESS_PROXY_URL: `http://${loopback(plan, "vault-proxy-1.egress")}`,
      };
    case "sandbox-manager":
      return {
        ...sessionStore,
        ...vaultProxy,
        MH_GIT_PROXY_ADDR: loopback(plan, "vault-proxy-1.git"),
        ...handEnv(plan.hands),
      };
    case "gateway":
      return {
        ...sessionStore,
        ...vaultProxy,
        ...sandboxManager,
        MH_HARNESS_ADDR: addressesOf(plan, "harness", plan.replicas.harness),
        MH_HTTP_LISTEN: loopback(plan, "gateway-1.http"),
        MH_API_KEYS_FILE: plan.apiKeysFile,
      };
  }
}

function handEnv(hands: HandsChoice): Record<string, string> {
  if (hands.driver === "virtual") return { MH_HAND_DRIVER: "virtual" };
  if (hands.driver === "bubblewrap")
    return { MH_HAND_DRIVER: "bubblewrap", MH_HAND_AGENT: hands.agent, MH_HAND_STATE_DIR: hands.stateDir };
  return {
    MH_HAND_DRIVER: "docker",
    MH_HAND_IMAGE: hands.image,
    MH_HAND_AGENT: hands.agent,
    MH_DOCKER_SOCKET: hands.socket,
  };
}

function serviceSpec(plan: Plan, service: ServiceName, index: number): ProcessSpec {
  const folder = service === "demo-model" ? "packages" : "services";
  return {
    ...filesOf(plan, service, index),
    service,
    index,
    command: process.execPath,
    args: [
      "--conditions=source",
      "--import",
      join(rootDir, "packages", "local", "bootstrap", "end-with-parent.mjs"),
      join(rootDir, folder, service, "src", "main.ts"),
    ],
    env: serviceEnv(plan, service, index),
    cwd: rootDir,
    ready: { kind: "file", file: readyFile(plan, service, index) },
    readyMs: READY_MS,
  };
}

function natsSpec(plan: Plan): ProcessSpec {
  // The kernel ends nats-server when the supervisor dies; without setpriv the next start does (see stale-processes.ts).
  const setpriv = "/usr/bin/setpriv";
  const dies = process.platform === "linux" && existsSync(setpriv) ? [setpriv, "--pdeathsig", "TERM", "--"] : [];
  const [command = plan.natsBinary, ...args] = [...dies, plan.natsBinary, "--config", plan.natsConfFile];
  return {
    ...filesOf(plan, "nats", 1),
    service: "nats",
    index: 1,
    command,
    args,
    env: pick(plan.machineEnv, EVERY),
    cwd: plan.paths.state,
    ready: { kind: "http", url: `http://${loopback(plan, "nats.monitor")}/healthz` },
    readyMs: READY_MS,
  };
}

function filesOf(plan: Plan, service: string, index: number): { logFile: string; recordFile: string } {
  return {
    logFile: join(plan.paths.logs, `${service}-${index}.log`),
    recordFile: join(plan.paths.run, `${service}-${index}.process.json`),
  };
}

function readyFile(plan: Plan, service: string, index: number): string {
  return join(plan.paths.run, `${service}-${index}.ready.json`);
}

/** Where the services find NATS. */
export function natsUrl(plan: Pick<Plan, "ports">): string {
  return `nats://${loopback(plan, "nats.client")}`;
}

/** `127.0.0.1:<port>` of a named port. */
export function loopback(plan: Pick<Plan, "ports">, name: string): string {
  const port = plan.ports.get(name);
  if (port === undefined) throw new Error(`no port was chosen for ${name}`);
  return `127.0.0.1:${port}`;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

function pick(env: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}
