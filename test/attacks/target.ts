/** A manager with one kind of hands; an attacker's hand and a neighbour's. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AppError, createRpcClient, newId, type RpcClient, toAppError } from "@manyhands/kit";
import { type OperationResult, Outcome, SandboxService } from "@manyhands/protocol";
import { createSandboxManager, readConfig } from "@manyhands/sandbox-manager";
import { image } from "./control.ts";
import { type Finding, judge, judgeForced } from "./judge.ts";
import { createPlantedStores, type Mounted, type PlantedStores } from "./planted-stores.ts";
import type { RuntimeName } from "./runtimes.ts";

const MIB = 1024 * 1024;
/** What hands under attack get; small, so that a defence that fails does not take the machine along. */
export const LIMITS = { memoryBytes: 256 * MIB, pids: 96, workspaceBytes: 64 * MIB } as const;
const CALL_MS = 90_000;
const FOLDER = import.meta.dirname;

/** What one tool call answered. */
export interface Answer {
  readonly content: string;
  readonly isError: boolean;
  readonly killed: boolean;
  readonly lost: boolean;
  readonly result: OperationResult;
}

/** One hand, made again from the same recipe when an attack has cost it. */
export interface TargetHand {
  id(): Promise<string>;
  call(name: string, input: Record<string, unknown>): Promise<Answer>;
  bash(command: string, timeoutMs?: number): Promise<Answer>;
  /** An attack of the programs inside. */
  python(attack: readonly string[], timeoutMs?: number): Promise<Finding>;
  /** One that may be ended by force. */
  forced(attack: readonly string[], timeoutMs?: number): Promise<Finding>;
  release(): Promise<void>;
}

/** The hands under attack. */
export interface Target {
  readonly runtime: RuntimeName;
  readonly notIsolated: readonly string[];
  readonly attacker: TargetHand;
  readonly neighbour: TargetHand;
  /** A hand with two memory stores: `notes` it may change, `rules` it may only read. */
  readonly noter: TargetHand;
  readonly stores: PlantedStores;
  /** host:port of the manager's gRPC and admin servers. */
  readonly addresses: readonly string[];
  stop(): Promise<void>;
}

type Client = RpcClient<typeof SandboxService>;

/** Starts a manager for this kind of hands; rejects in words when this machine does not have it. */
export async function openTarget(runtime: RuntimeName, agent: string): Promise<Target> {
  const stateDir = mkdtempSync(join(tmpdir(), "mha-"));
  const isDocker = runtime === "runc" || runtime === "runsc";
  const stores = createPlantedStores();
  const manager = await createSandboxManager(
    readConfig({
      MH_LOG_LEVEL: "silent",
      MH_HAND_DRIVER: isDocker ? "docker" : runtime,
      ...(isDocker ? { MH_HAND_RUNTIME: runtime } : {}),
      MH_HAND_IMAGE: image,
      MH_HAND_AGENT: agent,
      MH_HAND_STATE_DIR: stateDir,
      MH_HAND_MEMORY_BYTES: String(LIMITS.memoryBytes),
      MH_HAND_PIDS: String(LIMITS.pids),
      MH_HAND_WORKSPACE_BYTES: String(LIMITS.workspaceBytes),
      MH_HAND_ON_STOP: "release",
    }),
    { overrides: { memories: stores.memories } },
  );
  const client = createRpcClient(SandboxService, {
    address: manager.addresses.grpc ?? "",
    defaultDeadlineMs: CALL_MS,
  });
  const { drivers } = await client.describeDrivers({});
  return {
    runtime,
    notIsolated: drivers.find(({ available }) => available)?.notIsolated ?? [],
    attacker: createHand(client, runtime),
    neighbour: createHand(client, runtime),
    noter: createHand(client, runtime, stores.mounted),
    stores,
    addresses: Object.values(manager.addresses).filter((address) => address !== undefined),
    async stop() {
      client.close();
      await manager.stop();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}

function createHand(client: Client, runtime: RuntimeName, mountedMemories: Mounted = []): TargetHand {
  const sessionId = newId("sesn");
  let handId: string | undefined;
  const id = async () => {
    if (handId !== undefined) return handId;
    const { hand } = await client.provision({ sessionId, recipe: { mountedMemories: [...mountedMemories] } });
    handId = hand?.id ?? "";
    if (runtime !== "virtual") {
      for (const file of ["inside.py", "exhaust.py"])
        await call("write", { file_path: `/home/hand/${file}`, content: readFileSync(join(FOLDER, file), "utf8") });
    }
    return handId;
  };
  const call = async (name: string, input: Record<string, unknown>): Promise<Answer> => {
    const answer = await execute(client, await id(), name, input);
    if (answer.lost) handId = undefined;
    return answer;
  };
  const bash = (command: string, timeoutMs = 30_000) => call("bash", { command, timeout_ms: timeoutMs });
  const run = (attack: readonly string[], timeoutMs?: number) =>
    bash(`python3 -B ~/inside.py ${attack.map((word) => `'${word}'`).join(" ")}`, timeoutMs);
  return {
    id,
    call,
    bash,
    python: async (attack, timeoutMs) => judge((await run(attack, timeoutMs)).content),
    async forced(attack, timeoutMs) {
      const answer = await run(attack, timeoutMs);
      return judgeForced(answer.content, endedByForce(answer));
    },
    async release() {
      if (handId !== undefined) await client.release({ handId });
      handId = undefined;
    },
  };
}

function endedByForce({ lost, killed, content, result }: Answer): string | undefined {
  if (lost) return `the hand itself ended: ${result.lostReason}`;
  if (killed) return `killed by ${result.killedBy}`;
  return /exit code (137|139|1|254)|Killed|Cannot allocate/.test(content) ? content.trim().slice(-200) : undefined;
}

async function execute(client: Client, handId: string, name: string, input: unknown): Promise<Answer> {
  let result: OperationResult | undefined;
  try {
    const inputJson = Buffer.from(JSON.stringify(input));
    for await (const { item } of client.execute({ handId, operationId: newId("sevt"), name, inputJson }))
      if (item.case === "result") result = item.value;
  } catch (error) {
    const failure: AppError = toAppError(error);
    if (failure.kind !== "notFound" && failure.reason !== "HAND_LOST" && failure.kind !== "unavailable") throw failure;
  }
  if (!result) throw new Error(`the call of ${name} had no result`);
  const { content, isError, outcome, handLost } = result;
  return { content, isError, killed: outcome === Outcome.KILLED, lost: handLost, result };
}
