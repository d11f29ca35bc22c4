import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LockAttempt, tryLock } from "../bootstrap/lock.mjs";
import { removeBubblewrapHands } from "./bubblewrap-hands.ts";
import { type DevJson, writeDevJson } from "./dev-json.ts";
import { ensureDevSecrets } from "./dev-secrets.ts";
import { listHandIds, removeHandContainers } from "./hand-containers.ts";
import { chooseHands, type HandDriver, type HandsChoice } from "./hands-choice.ts";
import { chooseModel, type ModelChoice } from "./model-choice.ts";
import { natsConf } from "./nats-conf.ts";
import { ensureNatsServer } from "./nats-server.ts";
import { type Paths, pathsIn } from "./paths.ts";
import { choosePorts } from "./ports.ts";
import { writePrivateFile } from "./private-file.ts";
import type { Progress } from "./progress.ts";
import { rememberPlatform } from "./running-platforms.ts";
import {
  addressesOf,
  loopback,
  natsUrl,
  type Plan,
  portNames,
  processWaves,
  type Replicas,
  type ServiceName,
  stopOrder,
} from "./service-specs.ts";
import { SetupError } from "./setup-error.ts";
import { endStaleProcesses } from "./stale-processes.ts";
import { type RunningProcess, Supervisor } from "./supervisor.ts";

/** What to start; everything has the default of `npm start` except the folder, which is a new temporary one. */
export interface PlatformOptions {
  /** Logs, ports, process records, dev.json; default a temporary folder that is removed on stop. */
  readonly stateDir?: string;
  /** The log and the keys; default `<stateDir>/data`. A folder given here is never removed. */
  readonly dataDir?: string;
  /** How many harness processes, 1..16; default 1. */
  readonly harness?: number;
  /** How many sandbox-manager processes, 1..16; default 1. */
  readonly sandboxManager?: number;
  /** Default: docker where an engine answers, else virtual. A driver named here is used or start fails. */
  readonly handDriver?: HandDriver;
  /** Use this model API instead of what the environment says; the key only reaches the vault-proxy. */
  readonly model?: { readonly url: string; readonly key: string };
  /** More environment per service. */
  readonly env?: Partial<Record<ServiceName, Readonly<Record<string, string>>>>;
  readonly progress?: Progress;
  /** Gives up starting, and stops what was started so far. */
  readonly signal?: AbortSignal;
}

/** A running platform: every service a separate process, supervised by the calling process. */
export interface Platform {
  readonly devJson: DevJson;
  /** What runs now, in the order it was started. */
  processes(): RunningProcess[];
  /** Sends a signal; a service that dies of it is started again at the same addresses. */
  kill(service: ServiceName, index: number, signal: NodeJS.Signals): void;
  /** Resolves when that process is ready, also after a crash. */
  whenReady(service: ServiceName, index: number): Promise<void>;
  /** A clean stop and a new start of one process. */
  restart(service: ServiceName, index: number): Promise<void>;
  /** Drains and ends everything that was started, at most 15 s; twice is fine. */
  stop(): Promise<void>;
}

/** Another platform runs on the same folder. */
export class AlreadyRunning extends SetupError {
  constructor(pid: number | undefined) {
    super(`the platform of this folder is already running (process ${pid ?? "unknown"})`, {
      advice: "Use it, or stop it first.",
    });
    this.name = "AlreadyRunning";
  }
}

/** Brings the whole platform up and answers when every service is ready. Throws AlreadyRunning or a SetupError. */
export async function startPlatform(options: PlatformOptions = {}): Promise<Platform> {
  const state = options.stateDir ?? mkdtempSync(join(tmpdir(), "manyhands-"));
  const paths = pathsIn(state, options.dataDir);
  const lock = lockOrThrow(paths);
  const progress = options.progress ?? (() => undefined);
  let handIds: string[] = [];
  let plan: Plan | undefined;
  const noteHands = async () => {
    if (plan?.hands.driver === "docker") {
      handIds = await listHandIds(addressesOf(plan, "sandbox-manager", plan.replicas.sandboxManager));
    }
  };
  const supervisor = new Supervisor({ progress, stopOrder, beforeStop: { "sandbox-manager": noteHands } });
  let stopped: Promise<void> | undefined;
  const stopAndForget = async () => {
    try {
      await supervisor.stop();
      if (plan?.hands.driver === "docker") await removeHandContainers(plan.hands.socket, handIds);
      if (plan?.hands.driver === "bubblewrap") await removeBubblewrapHands(plan.hands.stateDir);
    } finally {
      forgetPlatform();
      rmSync(paths.devJson, { force: true });
      rmSync(modelKeyPath(paths), { force: true });
      lock.release();
      if (options.stateDir === undefined) rmSync(state, { recursive: true, force: true });
    }
  };
  const stop = () => {
    stopped ??= stopAndForget();
    return stopped;
  };
  const forgetPlatform = rememberPlatform(stop);
  options.signal?.addEventListener("abort", () => void supervisor.stop(), { once: true });
  try {
    await endStaleProcesses(paths.run, progress);
    const made = await makePlan(options, paths, progress);
    plan = made.plan;
    await supervisor.start(processWaves(plan));
    const devJson = writeDevJson(paths.devJson, factsOf(plan, made.model, made.secrets.apiKey));
    return {
      devJson,
      processes: () => supervisor.processes(),
      kill: (service, index, signal) => supervisor.kill(service, index, signal),
      whenReady: (service, index) => supervisor.whenReady(service, index),
      restart: (service, index) => supervisor.restart(service, index),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The model's key lies in a file only while the platform runs. */
function modelKeyPath(paths: Paths): string {
  return join(paths.run, "model-key");
}

function lockOrThrow(paths: Paths): Extract<LockAttempt, { held: true }> {
  for (const folder of [paths.state, paths.data, paths.logs, paths.run])
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = tryLock(join(paths.run, "supervisor.lock"));
  if (!lock.held) throw new AlreadyRunning(lock.holder?.pid);
  return lock;
}

async function makePlan(options: PlatformOptions, paths: Paths, progress: Progress) {
  const replicas = {
    harness: replicaCount(options.harness, "harness"),
    sandboxManager: replicaCount(options.sandboxManager, "sandboxManager"),
  };
  const [nats, hands, ports] = await Promise.all([
    ensureNatsServer(progress),
    chooseHands(options.handDriver, process.env, progress, paths.state),
    choosePorts(paths.ports, portNames(replicas)),
  ]);
  const model = modelOf(options);
  const secrets = ensureDevSecrets(paths.data, new Date());
  const natsConfFile = join(paths.run, "nats.conf");
  writePrivateFile(natsConfFile, natsConfOf(ports, paths));
  const modelKeyFile = model.key === "" ? undefined : modelKeyPath(paths);
  if (modelKeyFile !== undefined) writePrivateFile(modelKeyFile, `${model.key}\n`);
  return {
    plan: planOf({
      options,
      paths,
      ports,
      replicas,
      hands,
      model,
      natsBinary: nats.path,
      natsConfFile,
      modelKeyFile,
      ...secrets,
    }),
    model,
    secrets,
  };
}

interface PlanParts {
  readonly options: PlatformOptions;
  readonly paths: Paths;
  readonly ports: ReadonlyMap<string, number>;
  readonly replicas: Replicas;
  readonly hands: HandsChoice;
  readonly model: ModelChoice;
  readonly natsBinary: string;
  readonly natsConfFile: string;
  readonly modelKeyFile: string | undefined;
  readonly apiKeysFile: string;
  readonly vaultKeyFile: string;
}

function planOf({ options, model, ...parts }: PlanParts): Plan {
  return {
    ...parts,
    modelUrl: model.upstreamUrl ?? `http://${loopback(parts, "demo-model-1.http")}`,
    demoModelKey: model.kind === "demo" ? model.key : undefined,
    env: options.env ?? {},
    machineEnv: process.env,
  };
}

function modelOf(options: PlatformOptions): ModelChoice {
  if (options.model === undefined) return chooseModel(process.env);
  return { kind: "real", upstreamUrl: options.model.url, key: options.model.key, why: "given by the caller" };
}

function natsConfOf(ports: ReadonlyMap<string, number>, paths: Paths): string {
  return natsConf({
    port: ports.get("nats.client") ?? 0,
    monitorPort: ports.get("nats.monitor") ?? 0,
    storeDir: join(paths.data, "nats"),
  });
}

function factsOf(plan: Plan, model: ModelChoice, apiKey: string): Omit<DevJson, "pid" | "pid_start"> {
  return {
    gateway_url: `http://${loopback(plan, "gateway-1.http")}`,
    api_key: apiKey,
    grpc: {
      session_store: addressesOf(plan, "session-store", 1),
      harness: addressesOf(plan, "harness", plan.replicas.harness),
      sandbox_manager: addressesOf(plan, "sandbox-manager", plan.replicas.sandboxManager),
      vault_proxy: addressesOf(plan, "vault-proxy", 1),
    },
    nats_url: natsUrl(plan),
    model: model.kind,
    model_url: plan.modelUrl,
    model_proxy_url: `http://${loopback(plan, "vault-proxy-1.model")}`,
    model_why: model.why,
    hands: plan.hands.driver,
    hands_why: plan.hands.why,
    hands_dir: plan.hands.driver === "bubblewrap" ? plan.hands.stateDir : "",
    data_dir: plan.paths.data,
  };
}

const MAX_REPLICAS = 16;

function replicaCount(count: number | undefined, name: string): number {
  const asked = count ?? 1;
  if (!Number.isInteger(asked) || asked < 1 || asked > MAX_REPLICAS) {
    throw new SetupError(`${name} must be a whole number from 1 to ${MAX_REPLICAS}`, { advice: "Correct it." });
  }
  return asked;
}
