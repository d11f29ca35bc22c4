/** Managers as processes over one nats-server and the machine's Docker Engine, and what the engine still has of them. */
import { newId, type RpcClient } from "@manyhands/kit";
import { findDockerEngine, SetupError } from "@manyhands/local";
import type { SandboxService } from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import type Docker from "dockerode";
import {
  type ManagerProcess,
  startManagerProcess,
} from "../../services/sandbox-manager/src/testing/manager-process.ts";
import { ensureTestImages } from "../../services/sandbox-manager/src/testing/test-images.ts";

const makerLabel = "dev.manyhands.maker";

/** A client of one manager. */
export type Sandboxes = RpcClient<typeof SandboxService>;

/** A bed for hands. */
export interface HandsBed {
  readonly docker: Docker;
  /** Starts a manager that shares the records with all others of this bed. */
  start(env?: Record<string, string>): Promise<ManagerProcess>;
  /** Names of all containers, running or not, that managers of this bed have made. */
  containers(): Promise<string[]>;
  close(): Promise<void>;
}

/** Opens a bed; `env` is what all its managers have in common. */
export async function startHandsBed(env: Record<string, string> = {}): Promise<HandsBed> {
  const engine = await findDockerEngine();
  if (!engine.answers) {
    throw new SetupError(`hands need a Docker Engine: ${engine.reason}`, { advice: "Start one." });
  }
  const { docker } = engine;
  await ensureTestImages(docker);
  const nats: NatsServer = await startNatsServer();
  const managers: ManagerProcess[] = [];
  const names = new Set<string>();
  return {
    docker,
    async start(more = {}) {
      const name = newId("manager");
      names.add(name);
      const base = { MH_NATS_URL: nats.url, MH_INSTANCE_ID: name, MH_HAND_SWEEP_MS: "500", MH_HAND_ORPHAN_MS: "1000" };
      const started = await startManagerProcess({ ...base, ...env, ...more });
      managers.push(started);
      return started;
    },
    async containers() {
      const all = await docker.listContainers({ all: true, filters: { label: [makerLabel] } });
      return all
        .filter(({ Labels: labels }) => names.has(labels[makerLabel] ?? ""))
        .map(({ Names: given }) => given.join(" "));
    },
    async close() {
      for (const manager of managers) await manager.stop();
      const left = await docker.listContainers({ all: true, filters: { label: [makerLabel] } });
      const ours = left.filter(({ Labels: labels }) => names.has(labels[makerLabel] ?? ""));
      await Promise.all(ours.map(({ Id: id }) => docker.getContainer(id).remove({ force: true })));
      await nats.stop();
    },
  };
}

/** Runs `work` for 0 … count-1, at most `width` at once. */
export async function inParallel(count: number, width: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < count; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: width }, lane));
}
