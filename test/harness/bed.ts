/** The services a harness needs, as real processes: NATS, session-store, vault-proxy, sandbox-manager (virtual hands). */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { cp, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { create } from "@bufbuild/protobuf";
import type { JsonObject, NewEvent, SessionEvent } from "@manyhands/core";
import { createDemoModel, type DemoModel, type DemoModelOptions } from "@manyhands/demo-model";
import { createRpcClient, newId, type RpcClient } from "@manyhands/kit";
import { decodeEvent, encodeEvent, GetEventsRequestSchema, SessionService, VaultService } from "@manyhands/protocol";
import { eventually, freePort, type NatsServer, nodeEnv, startNatsServer, tempDir } from "@manyhands/testkit";

const root = path.resolve(import.meta.dirname, "../..");
const workspaceId = "wrkspc_test";
const readyMs = 30_000;

/** A service's process. */
export interface Process {
  readonly name: string;
  readonly child: ChildProcess;
  readonly addresses: Readonly<Record<string, string>>;
  /** What it has written so far. */
  readonly output: () => string;
  /** Resolves with the signal or code it ended by. */
  readonly ended: Promise<string>;
}

/** Everything but the harnesses. */
export interface Bed {
  readonly nats: NatsServer;
  readonly model: DemoModel;
  readonly sessions: RpcClient<typeof SessionService>;
  readonly vaults: RpcClient<typeof VaultService>;
  /** Where sandbox-manager's gRPC answers. */
  readonly sandboxAddress: string;
  /** Where session-store's and vault-proxy's gRPC answer. */
  readonly storeAddress: string;
  readonly vaultAddress: string;
  /** Kills vault-proxy and starts it again at the same addresses. */
  restartVault(): Promise<void>;
  startHarness(env?: Record<string, string>): Promise<Process>;
  stopHarnesses(): Promise<void>;
  /** Kills session-store and starts it again at the same address. */
  restartStore(): Promise<void>;
  /** Kills sandbox-manager with all its hands (virtual ones live in it) and starts it again at the same address. */
  loseHands(): Promise<void>;
  close(): Promise<void>;
}

/** What a test may have otherwise; `sandboxManager` are further settings of that service. */
export type BedOptions = Pick<DemoModelOptions, "onRequest"> & { readonly sandboxManager?: Record<string, string> };

/** Starts the bed; `scenarios` are YAML files beside the packaged ones. */
export async function startBed(
  scenarios: Record<string, string> = {},
  { sandboxManager = {}, ...options }: BedOptions = {},
): Promise<Bed> {
  const folder = await tempDir("manyhands-harness-");
  const scenarioDir = path.join(folder.path, "scenarios");
  await cp(path.join(root, "packages/demo-model/scenarios"), scenarioDir, { recursive: true });
  for (const [name, text] of Object.entries(scenarios)) await writeFile(path.join(scenarioDir, `${name}.yaml`), text);
  const keyFile = path.join(folder.path, "vault.key");
  await writeFile(keyFile, randomBytes(32).toString("base64"), { mode: 0o600 });
  const nats = await startNatsServer();
  const model = await createDemoModel({ scenarioDir, ...options });
  const running: Process[] = [];
  const run = async (service: string, env: Record<string, string>) => {
    const started = await startProcess(folder.path, service, { MH_NATS_URL: nats.url, ...env });
    running.push(started);
    return started;
  };
  const storeEnv = {
    MH_ALLOW_DATA_LOSS: "true",
    MH_WAKE_RESCAN_MS: "2000",
    MH_GRPC_LISTEN: `127.0.0.1:${await freePort()}`,
  };
  const store = await run("session-store", storeEnv);
  const MH_SESSION_STORE_ADDR = store.addresses.grpc ?? "";
  const sandboxEnv = {
    MH_SESSION_STORE_ADDR,
    MH_HAND_DRIVER: "virtual",
    MH_HAND_CAPACITY: "200",
    MH_GRPC_LISTEN: `127.0.0.1:${await freePort()}`,
    ...sandboxManager,
  };
  const vaultEnv = {
    MH_SESSION_STORE_ADDR,
    MH_VAULT_KEY_FILE: keyFile,
    MH_MODEL_UPSTREAM_URL: model.url,
    MH_MODEL_API_KEY: "test",
    MH_MCP_PRIVATE_RANGES: "127.0.0.0/8",
    MH_GRPC_LISTEN: `127.0.0.1:${await freePort()}`,
    MH_MODEL_LISTEN: `127.0.0.1:${await freePort()}`,
  };
  const [vault, sandbox] = await Promise.all([run("vault-proxy", vaultEnv), run("sandbox-manager", sandboxEnv)]);
  const sessions = createRpcClient(SessionService, { address: MH_SESSION_STORE_ADDR, defaultDeadlineMs: 20_000 });
  const vaults = createRpcClient(VaultService, { address: vault.addresses.grpc ?? "", defaultDeadlineMs: 20_000 });
  const harnessEnv = {
    MH_SESSION_STORE_ADDR,
    MH_SANDBOX_MANAGER_ADDR: sandbox.addresses.grpc ?? "",
    MH_VAULT_PROXY_ADDR: vault.addresses.grpc ?? "",
    MH_MODEL_PROXY_URL: `http://${vault.addresses.model}`,
    MH_DEVELOPMENT: "true",
    MH_MODEL_BACKOFF_MS: "50",
  };
  const harnesses: Process[] = [];
  return {
    nats,
    model,
    sessions,
    vaults,
    sandboxAddress: sandbox.addresses.grpc ?? "",
    storeAddress: MH_SESSION_STORE_ADDR,
    vaultAddress: vault.addresses.grpc ?? "",
    async restartVault() {
      await stopAll(running.filter(({ name }) => name.startsWith("vault-proxy")));
      await run("vault-proxy", vaultEnv);
    },
    async startHarness(env = {}) {
      const started = await startProcess(folder.path, "harness", { MH_NATS_URL: nats.url, ...harnessEnv, ...env });
      harnesses.push(started);
      return started;
    },
    async loseHands() {
      await stopAll(running.filter(({ name }) => name.startsWith("sandbox-manager")));
      await run("sandbox-manager", sandboxEnv);
    },
    async restartStore() {
      await stopAll(running.filter(({ name }) => name.startsWith("session-store")));
      await run("session-store", storeEnv);
    },
    stopHarnesses: () => stopAll(harnesses.splice(0)),
    async close() {
      sessions.close();
      vaults.close();
      await stopAll([...harnesses, ...running]);
      await model.close();
      await nats.stop();
      await folder.cleanup();
    },
  };
}

async function startProcess(folder: string, service: string, env: Record<string, string>): Promise<Process> {
  const name = newId(service);
  const readyFile = path.join(folder, `${name}.ready.json`);
  const child = spawn(process.execPath, ["--conditions=source", path.join(root, "services", service, "src/main.ts")], {
    env: { ...nodeEnv(), MH_READY_FILE: readyFile, MH_INSTANCE_ID: name, MH_DRAIN_MS: "4000", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-200_000);
    });
  }
  const ended = once(child, "exit").then(([code, signal]) => String(signal ?? code));
  const ready = eventually(async () => JSON.parse(await readFile(readyFile, "utf8")) as Pick<Process, "addresses">, {
    timeoutMs: readyMs,
    everyMs: 20,
  });
  ready.catch(() => undefined);
  const early = ended.then((how) =>
    Promise.reject(new Error(`${name} ended with ${how} before it was ready:\n${output}`)),
  );
  early.catch(() => undefined);
  const { addresses } = await Promise.race([ready, early]);
  return { name, child, addresses, output: () => output, ended };
}

async function stopAll(processes: readonly Process[]): Promise<void> {
  for (const { child } of processes) {
    child.kill("SIGCONT");
    child.kill("SIGKILL");
  }
  await Promise.all(processes.map(({ ended }) => ended));
}

/** A session with the built-in tools and the given text as its first message; answers its id. */
export async function createSession(
  bed: Pick<Bed, "sessions">,
  text: string,
  agent: JsonObject = {},
  sessionId = "",
  metadata: Record<string, string> = {},
  budget?: JsonObject,
  environment: JsonObject = { type: "cloud" },
  harnessKind = "",
): Promise<string> {
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const { session } = await bed.sessions.createSession({
    workspaceId,
    sessionId,
    harnessKind,
    agentJson: json({
      model: { id: "demo-1" },
      system: "You help.",
      tools: [{ type: "agent_toolset_20260401" }],
      ...agent,
    }),
    metadata,
    ...(budget === undefined ? {} : { budgetJson: json(budget) }),
    environmentJson: json({ config: environment }),
    initialEvents: [encodeEvent(message(text))],
  });
  return session?.id ?? "";
}

/** A user's message. */
export function message(text: string): NewEvent<"user.message"> {
  return { id: newId("sevt"), type: "user.message", content: [{ type: "text", text }] };
}

/** Sends client events. */
export async function send(bed: Pick<Bed, "sessions">, sessionId: string, ...events: NewEvent[]): Promise<void> {
  await bed.sessions.emitEvents({ workspaceId, sessionId, events: events.map(encodeEvent) });
}

/** The whole log. */
export async function log(bed: Pick<Bed, "sessions">, sessionId: string): Promise<SessionEvent[]> {
  const request = create(GetEventsRequestSchema, { sessionId, includePlatform: true, pageSize: 1000 });
  const { events } = await bed.sessions.getEvents(request);
  return events.map(decodeEvent).filter((event): event is SessionEvent => !("unknown" in event));
}

/** Waits until the log says something. */
export function logUntil(
  bed: Pick<Bed, "sessions">,
  sessionId: string,
  holds: (events: SessionEvent[]) => boolean,
  timeoutMs = 20_000,
): Promise<SessionEvent[]> {
  return eventually(
    async () => {
      const events = await log(bed, sessionId);
      if (holds(events)) return events;
      throw new Error(`the log does not say so yet:\n${events.map(inShort).join("\n")}`);
    },
    { timeoutMs, everyMs: 25 },
  );
}

/** True when the turn is over for the n-th time. */
export function isIdle(times = 1): (events: SessionEvent[]) => boolean {
  return (events) =>
    events.at(-1)?.type === "session.status_idle" &&
    events.filter((event) => event.type === "session.status_idle").length >= times;
}

/** The words of the last message. */
export function lastWords(events: readonly SessionEvent[]): string {
  const last = events.findLast((event) => event.type === "agent.message");
  return last?.content.map((block) => (block.type === "text" ? block.text : "")).join("") ?? "";
}

/** The events of one type. */
export function ofType<T extends SessionEvent["type"]>(events: readonly SessionEvent[], type: T) {
  return events.filter((event): event is Extract<SessionEvent, { type: T }> => event.type === type);
}

function inShort(event: SessionEvent): string {
  return `${event.position} ${event.epoch} ${JSON.stringify(event).slice(0, 300)}`;
}
