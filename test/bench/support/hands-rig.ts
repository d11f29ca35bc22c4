/** Hands on the machine's own Docker Engine, and what the engine can do without us. */
import { createRpcClient, newId, type RpcClient, type RunningService, testServiceConfig } from "@manyhands/kit";
import { findDockerEngine, SetupError } from "@manyhands/local";
import { SandboxService } from "@manyhands/protocol";
import { createSandboxManager, type Deps, readConfig } from "@manyhands/sandbox-manager";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import type Docker from "dockerode";
import {
  executeCall,
  type ManagerProcess,
  startManagerProcess,
} from "../../../services/sandbox-manager/src/testing/manager-process.ts";
import {
  agentBinary,
  BUSYBOX_IMAGE,
  ensureTestImages,
} from "../../../services/sandbox-manager/src/testing/test-images.ts";

const callMs = 60_000;
const sleepSeconds = "600";

/** A client as the harness has one. */
export type Sandboxes = RpcClient<typeof SandboxService>;

/** A running rig. */
export interface HandsRig {
  readonly docker: Docker;
  readonly nats: NatsServer;
  /** A manager in this process: all of its code, none of gRPC. */
  inProcess(): Promise<RunningService<Deps>>;
  /** A manager as a process of its own; `env` changes single settings. */
  manager(env?: Record<string, string>): Promise<ManagerProcess>;
  /** A container of the same image that sleeps: created and started, nothing asked that a plain one has not. */
  rawContainer(): Promise<Docker.Container>;
  stop(): Promise<void>;
}

/** Starts a nats-server that syncs every write; managers are started when asked for and stopped with the rig. */
export async function startHandsRig(): Promise<HandsRig> {
  const engine = await findDockerEngine();
  if (!engine.answers) {
    throw new SetupError(`hands are measured on a Docker Engine: ${engine.reason}`, { advice: "Start one." });
  }
  const { docker, socket } = engine;
  await ensureTestImages(docker);
  const nats = await startNatsServer({ syncAlways: true });
  const env = {
    MH_NATS_URL: nats.url,
    MH_HAND_DRIVER: "docker",
    MH_DOCKER_SOCKET: socket,
    MH_HAND_IMAGE: BUSYBOX_IMAGE,
    MH_HAND_AGENT: await agentBinary(),
    MH_HAND_ON_STOP: "release",
  };
  const stops: (() => Promise<unknown>)[] = [];
  return {
    docker,
    nats,
    async inProcess() {
      const running = await createSandboxManager({ ...readConfig(env), service: testServiceConfig() });
      stops.push(() => running.stop("the benchmark is over"));
      return running;
    },
    async manager(changes = {}) {
      const started = await startManagerProcess({ ...env, MH_DRAIN_MS: "5000", ...changes });
      stops.push(() => started.stop());
      return started;
    },
    async rawContainer() {
      const container = await docker.createContainer({
        Image: BUSYBOX_IMAGE,
        Entrypoint: ["sleep", sleepSeconds],
        HostConfig: { NetworkMode: "none" },
      });
      await container.start();
      return container;
    },
    async stop() {
      for (const stop of stops.reverse()) await stop();
      await nats.stop();
    },
  };
}

/** A client of a manager's address, as the harness opens one. */
export function sandboxesAt(address: string): Sandboxes {
  return createRpcClient(SandboxService, { address, defaultDeadlineMs: callMs });
}

/** A new session's hand. */
export async function newHand(client: Sandboxes): Promise<{ readonly sessionId: string; readonly handId: string }> {
  const sessionId = newId("sesn");
  const { hand } = await client.provision({ sessionId });
  if (!hand) throw new Error("no hand was provisioned");
  return { sessionId, handId: hand.id };
}

/** `true` as a tool call of a hand, to its result. */
export async function callTrue(client: Sandboxes, handId: string): Promise<void> {
  const { result } = await executeCall(client, { handId, input: { command: "true" } });
  if (result.isError) throw new Error(`the tool call failed: ${result.content}`);
}

/** `docker exec CONTAINER true` as the engine's API does it, waited for to its end. */
export async function dockerExecTrue(container: Docker.Container): Promise<void> {
  const exec = await container.exec({ Cmd: ["true"], AttachStdout: true, AttachStderr: true });
  const stream = await exec.start({});
  stream.resume();
  await new Promise((resolve, reject) => stream.once("end", resolve).once("error", reject));
  const { ExitCode: code } = await exec.inspect();
  if (code !== 0) throw new Error(`docker exec ended with ${code}`);
}
