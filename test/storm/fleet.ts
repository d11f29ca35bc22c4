/** A whole platform without its gateway, as real processes: what the storm breaks, and what it asks. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { type Bus, connectBus } from "@manyhands/bus";
import { createDemoModel, type DemoModel, type DemoModelOptions, type ScenarioInput } from "@manyhands/demo-model";
import { createRpcClient, type RpcClient, silentLogger } from "@manyhands/kit";
import { ensureHandAgent, ensureHandImage, findDockerEngine, type Progress } from "@manyhands/local";
import { SandboxService, SessionService } from "@manyhands/protocol";
import { type NatsServer, startNatsServer, tempDir } from "@manyhands/testkit";
import { type ServiceName, ServiceProcess } from "../support/service-process.ts";

/** How many processes of each kind, and what they are told besides the usual. */
export interface FleetOptions {
  readonly harnesses: number;
  readonly stores: number;
  readonly managers: number;
  /** `auto`: docker when an engine answers. */
  readonly driver: "auto" | "virtual";
  readonly handCapacity: number;
  readonly scenarios: readonly ScenarioInput[];
  /** Another model than the demo model of the scenarios. */
  readonly modelUrl?: string;
  readonly onRequest?: NonNullable<DemoModelOptions["onRequest"]>;
  readonly env?: Readonly<Partial<Record<ServiceName, Record<string, string>>>>;
  readonly progress: Progress;
}

/** The running platform. */
export interface Fleet {
  readonly driver: "docker" | "virtual";
  readonly nats: NatsServer;
  readonly model: DemoModel;
  readonly bus: Bus;
  readonly sessions: RpcClient<typeof SessionService>;
  readonly sandboxes: RpcClient<typeof SandboxService>;
  readonly harnesses: readonly ServiceProcess[];
  readonly stores: readonly ServiceProcess[];
  readonly managers: readonly ServiceProcess[];
  /** One more harness, not started. */
  addHarness(env?: Readonly<Record<string, string>>): Promise<ServiceProcess>;
  close(): Promise<void>;
}

const callMs = 20_000;

/** Starts everything. What was started is ended when a later part does not start. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const closers: (() => unknown)[] = [];
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const folder = await tempDir("manyhands-storm-");
    closers.push(() => folder.cleanup());
    const nats = await startNatsServer({ syncAlways: true });
    closers.push(() => nats.stop());
    const { onRequest } = options;
    const model = await createDemoModel({
      scenarios: options.scenarios,
      journalSize: 10,
      ...(onRequest === undefined ? {} : { onRequest }),
    });
    closers.push(() => model.close());
    const hands = await handEnv(options);
    const make = async (service: ServiceName, index: number, env: Record<string, string>) => {
      const settings = { MH_NATS_URL: nats.url, ...env, ...options.env?.[service] };
      const made = await ServiceProcess.create({
        service,
        name: `${service}-${index}`,
        folder: folder.path,
        env: settings,
      });
      closers.push(() => made.end("SIGKILL"));
      return made;
    };
    const several = (service: ServiceName, count: number, env: Record<string, string>) =>
      Promise.all(Array.from({ length: count }, (_, index) => make(service, index + 1, env)));

    const keyFile = path.join(folder.path, "vault.key");
    await writeFile(keyFile, randomBytes(32).toString("base64"), { mode: 0o600 });
    const stores = await several("session-store", options.stores, {
      MH_NATS_MONITOR_URL: nats.monitorUrl,
      MH_WAKE_RESCAN_MS: "2000",
    });
    await Promise.all(stores.map((store) => store.start()));
    const MH_SESSION_STORE_ADDR = addressesOf(stores);
    const vault = await make("vault-proxy", 1, {
      MH_SESSION_STORE_ADDR,
      MH_VAULT_KEY_FILE: keyFile,
      MH_MODEL_UPSTREAM_URL: options.modelUrl ?? model.url,
      MH_MODEL_API_KEY: "test",
    });
    const managers = await several("sandbox-manager", options.managers, {
      MH_SESSION_STORE_ADDR,
      MH_HAND_CAPACITY: String(options.handCapacity),
      ...hands.env,
    });
    await Promise.all([vault, ...managers].map((one) => one.start()));
    const harnessEnv = {
      MH_SESSION_STORE_ADDR,
      MH_SANDBOX_MANAGER_ADDR: addressesOf(managers),
      MH_VAULT_PROXY_ADDR: vault.address,
      MH_MODEL_PROXY_URL: `http://${vault.addresses.model}`,
      MH_DEVELOPMENT: "true",
      MH_MODEL_BACKOFF_MS: "50",
      MH_DRAIN_MS: "8000",
      NODE_OPTIONS: "--max-semi-space-size=4", // as the platform starts it
      MALLOC_ARENA_MAX: "2",
      MALLOC_TRIM_THRESHOLD_: "131072",
    };
    let made = options.harnesses;
    const harnesses = await several("harness", options.harnesses, harnessEnv);
    await Promise.all(harnesses.map((one) => one.start()));
    const bus = await connectBus({ url: nats.url, name: "storm", logger: silentLogger() });
    closers.push(() => bus.close());
    const sessions = createRpcClient(SessionService, { address: MH_SESSION_STORE_ADDR, defaultDeadlineMs: callMs });
    closers.push(() => sessions.close());
    const sandboxes = createRpcClient(SandboxService, { address: addressesOf(managers), defaultDeadlineMs: callMs });
    closers.push(() => sandboxes.close());
    const addHarness = (env: Readonly<Record<string, string>> = {}) => {
      made += 1;
      return make("harness", made, { ...harnessEnv, ...env });
    };
    return {
      driver: hands.driver,
      nats,
      model,
      bus,
      sessions,
      sandboxes,
      harnesses,
      stores,
      managers,
      addHarness,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function addressesOf(processes: readonly ServiceProcess[]): string {
  return processes.map(({ address }) => address).join(",");
}

async function handEnv(
  options: FleetOptions,
): Promise<{ readonly driver: "docker" | "virtual"; readonly env: Record<string, string> }> {
  const engine = options.driver === "virtual" ? undefined : await findDockerEngine();
  if (engine?.answers !== true) {
    if (engine !== undefined) options.progress(`hands are virtual: ${engine.reason}`);
    return { driver: "virtual", env: { MH_HAND_DRIVER: "virtual" } };
  }
  const { image } = await ensureHandImage(engine.docker, options.progress);
  const env = {
    MH_HAND_DRIVER: "docker",
    MH_HAND_IMAGE: image,
    MH_HAND_AGENT: await ensureHandAgent(),
    MH_DOCKER_SOCKET: engine.socket,
  };
  return { driver: "docker", env };
}
