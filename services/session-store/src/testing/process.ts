/** session-store as a process of its own, to be killed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { endWithUs, eventually, type NatsServer, nodeEnv, tempDir } from "@manyhands/testkit";

const main = fileURLToPath(new URL("../main.ts", import.meta.url));

/** A process that can be killed and started again. */
export interface StoreProcess {
  /** Where gRPC listens now. */
  address(): string;
  /** Where the admin server listens now. */
  adminAddress(): string;
  start(): Promise<void>;
  /** Sends a signal and waits for the end; answers the exit code. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  /** What it wrote to standard output and error so far. */
  output(): string;
}

/** A process against a server; not started yet. `grpcPort` keeps the address over restarts. */
export async function storeProcess(
  server: Pick<NatsServer, "url" | "monitorUrl">,
  grpcPort: number,
  extra: Record<string, string> = {},
): Promise<StoreProcess> {
  const dir = await tempDir("manyhands-store-");
  const readyFile = join(dir.path, "ready.json");
  let child: ChildProcess | undefined;
  let addresses: Record<string, string> = {};
  let output = "";
  return {
    address: () => addresses.grpc ?? "",
    adminAddress: () => addresses.admin ?? "",
    output: () => output,
    async start() {
      await rm(readyFile, { force: true });
      const started = spawn(process.execPath, ["--conditions=source", main], {
        env: {
          ...nodeEnv(),
          MH_NATS_URL: server.url,
          MH_NATS_MONITOR_URL: server.monitorUrl,
          MH_GRPC_LISTEN: `127.0.0.1:${grpcPort}`,
          MH_READY_FILE: readyFile,
          ...extra,
        },
        stdio: ["ignore", "pipe", "pipe"],
      });
      child = started;
      endWithUs(started);
      for (const stream of [started.stdout, started.stderr]) {
        stream.on("data", (chunk: Buffer) => {
          output = (output + chunk.toString("utf8")).slice(-100_000);
        });
      }
      const ready = eventually(async () => JSON.parse(await readFile(readyFile, "utf8")), { timeoutMs: 20_000 });
      const died = once(started, "exit").then(([code]) => {
        throw new Error(`session-store ended with ${code}: ${output.slice(-2000)}`);
      });
      died.catch(() => undefined);
      ({ addresses } = await Promise.race([ready, died]));
    },
    async end(signal) {
      if (child === undefined || child.exitCode !== null) return child?.exitCode ?? null;
      const ended = once(child, "exit");
      child.kill(signal);
      const [code] = await ended;
      return code;
    },
  };
}
