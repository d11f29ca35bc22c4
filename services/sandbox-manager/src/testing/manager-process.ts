/** For tests: managers as real processes that can be killed, and a client that speaks to them as the harness does. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRpcClient, newId, type RpcClient } from "@manyhands/kit";
import { type ExecuteResponse, type OperationResult, SandboxService } from "@manyhands/protocol";
import { endWithUs, eventually, nodeEnv } from "@manyhands/testkit";
import { agentBinary, BUSYBOX_IMAGE } from "./test-images.ts";

const mainFile = join(import.meta.dirname, "../main.ts");
const READY_MS = 30_000;
const CALL_MS = 60_000;

/** A client of one manager. */
export type SandboxClient = RpcClient<typeof SandboxService>;

/** A manager in a process of its own. */
export type ManagerProcess = {
  readonly client: SandboxClient;
  readonly address: string;
  kill9(): Promise<void>;
  stop(): Promise<void>;
};

/** A client with a deadline that fits tests. */
export function sandboxClient(address: string): SandboxClient {
  return createRpcClient(SandboxService, { address, defaultDeadlineMs: CALL_MS });
}

/** Starts `main.ts` with docker and the busybox image; `env` changes single settings. */
export async function startManagerProcess(env: Readonly<Record<string, string>>): Promise<ManagerProcess> {
  const readyFile = join(mkdtempSync(join(tmpdir(), "manyhands-manager-")), "ready.json");
  const child = spawn(process.execPath, ["--conditions=source", mainFile], {
    env: {
      ...nodeEnv(),
      MH_READY_FILE: readyFile,
      MH_LOG_LEVEL: process.env.MH_TEST_LOG ?? "error",
      MH_INSTANCE_ID: newId("manager"),
      MH_HAND_DRIVER: "docker",
      MH_HAND_IMAGE: BUSYBOX_IMAGE,
      MH_HAND_AGENT: await agentBinary(),
      MH_DRAIN_MS: "500",
      ...env,
    },
    stdio: ["ignore", "inherit", "inherit"],
  });
  endWithUs(child);
  const address = await readyAddress(child, readyFile);
  const client = sandboxClient(address);
  const end = async (signal: NodeJS.Signals) => {
    client.close();
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await once(child, "exit");
    }
  };
  return { client, address, kill9: () => end("SIGKILL"), stop: () => end("SIGTERM") };
}

/** The gRPC address that a service writes into its ready file. */
export async function readyAddress(child: ChildProcess, readyFile: string): Promise<string> {
  await eventually(
    () => {
      if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}`);
      return existsSync(readyFile);
    },
    { timeoutMs: READY_MS },
  );
  const ready: unknown = JSON.parse(readFileSync(readyFile, "utf8"));
  if (typeof ready === "object" && ready !== null && "addresses" in ready) {
    const { addresses } = ready;
    if (typeof addresses === "object" && addresses !== null && "grpc" in addresses) return String(addresses.grpc);
  }
  throw new Error("the ready file names no gRPC address");
}

/** What a call streamed, and how it ended. */
export type Executed = { readonly output: Buffer; readonly attached: boolean; readonly result: OperationResult };

/** A tool call as the harness makes it. */
export type ToolCallRequest = {
  readonly handId: string;
  readonly name?: string;
  readonly input: unknown;
  readonly operationId?: string;
  readonly epoch?: bigint;
  readonly sessionId?: string;
  readonly grantToken?: string;
};

/** Executes and follows to the result; `onOutput` is told as bytes come. */
export async function executeCall(
  client: SandboxClient,
  call: ToolCallRequest,
  onOutput?: (bytes: number) => void,
): Promise<Executed> {
  const responses = client.execute({
    handId: call.handId,
    operationId: call.operationId ?? newId("sevt"),
    name: call.name ?? "bash",
    inputJson: Buffer.from(JSON.stringify(call.input)),
    epoch: call.epoch ?? 0n,
    sessionId: call.sessionId ?? "",
    grantToken: call.grantToken ?? "",
  });
  return collectResponses(responses, onOutput);
}

/** Follows a stream to its result; output must be gapless. */
export async function collectResponses(
  responses: AsyncIterable<Pick<ExecuteResponse, "item">>,
  onOutput?: (bytes: number) => void,
): Promise<Executed> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  let attached = false;
  let result: OperationResult | undefined;
  for await (const { item } of responses) {
    if (item.case === "started") attached = item.value.attached;
    if (item.case === "output") {
      if (item.value.offset !== BigInt(size)) throw new Error(`output jumps from ${size} to ${item.value.offset}`);
      chunks.push(item.value.data);
      size += item.value.data.length;
      onOutput?.(size);
    }
    if (item.case === "result") result = item.value;
  }
  if (!result) throw new Error("the stream ended without a result");
  return { output: Buffer.concat(chunks), attached, result };
}
