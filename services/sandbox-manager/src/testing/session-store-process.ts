/** For tests: the real session-store as a process of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRpcClient, type RpcClient } from "@manyhands/kit";
import { SessionService } from "@manyhands/protocol";
import { endWithUs, type NatsServer, nodeEnv } from "@manyhands/testkit";
import { readyAddress } from "./manager-process.ts";

const mainFile = join(import.meta.dirname, "../../../session-store/src/main.ts");
const CALL_MS = 20_000;

/** A session-store in a process of its own. */
export type SessionStoreProcess = {
  readonly address: string;
  readonly sessions: RpcClient<typeof SessionService>;
  /** A new session of a workspace, with these resources; answers its id. */
  newSession(workspaceId: string, resources?: readonly unknown[]): Promise<string>;
  stop(): Promise<void>;
};

/** Starts it over this nats-server. */
export async function startSessionStoreProcess(nats: NatsServer): Promise<SessionStoreProcess> {
  const readyFile = join(mkdtempSync(join(tmpdir(), "manyhands-session-store-")), "ready.json");
  const child = spawn(process.execPath, ["--conditions=source", mainFile], {
    env: {
      ...nodeEnv(),
      MH_READY_FILE: readyFile,
      MH_LOG_LEVEL: process.env.MH_TEST_LOG ?? "error",
      MH_NATS_URL: nats.url,
      MH_NATS_MONITOR_URL: nats.monitorUrl,
      MH_DRAIN_MS: "500",
    },
    stdio: ["ignore", "inherit", "inherit"],
  });
  endWithUs(child);
  const address = await readyAddress(child, readyFile);
  const sessions = createRpcClient(SessionService, { address, defaultDeadlineMs: CALL_MS });
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  return {
    address,
    sessions,
    async newSession(workspaceId, resources = []) {
      const agentJson = json({ id: "agent_1", version: 1, model: { id: "m" } });
      const { session } = await sessions.createSession({
        workspaceId,
        agentJson,
        environmentJson: json({ id: "env_1" }),
        resourcesJson: json(resources),
      });
      if (!session) throw new Error("no session in the answer");
      return session.id;
    },
    async stop() {
      sessions.close();
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}
