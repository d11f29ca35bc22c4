/** session-store, or another service, as a real process that is killed and, as a supervisor would, brought up again. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { endWithUs, eventually, freePort, tempDir } from "@manyhands/testkit";
import { root } from "../../tidy/sources.ts";

const readyMs = 40_000;
const endMs = 15_000;
const startAttempts = 6;
const maxOutputChars = 20_000;

/** A session-store at a fixed address. */
export interface StoreProcess {
  readonly address: string;
  /** Brings it up; tries again when it refuses, as it does while the bus is away. */
  start(): Promise<void>;
  /** SIGKILL, waited for. */
  kill9(): Promise<void>;
  /** SIGTERM, then SIGKILL; removes its folder. */
  stop(): Promise<void>;
  /** The newest of what it wrote. */
  output(): string;
}

/** One that is not started yet. `env` says where NATS is. */
export async function storeProcess(
  env: Readonly<Record<string, string>>,
  service: "session-store" | "vault-proxy" = "session-store",
): Promise<StoreProcess> {
  const folder = await tempDir("manyhands-durability-store-");
  const readyFile = path.join(folder.path, "ready.json");
  const address = `127.0.0.1:${await freePort()}`;
  let child: ChildProcess | undefined;
  let output = "";
  const end = async (signal: NodeJS.Signals) => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = once(ending, "exit");
    const killer = setTimeout(() => ending.kill("SIGKILL"), endMs);
    ending.kill(signal);
    await ended;
    clearTimeout(killer);
  };
  const startOnce = async () => {
    await rm(readyFile, { force: true });
    const started = spawn(
      process.execPath,
      ["--conditions=source", path.join(root, "services", service, "src/main.ts")],
      {
        env: { MH_GRPC_LISTEN: address, MH_READY_FILE: readyFile, MH_WAKE_RESCAN_MS: "600000", ...env },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    child = started;
    endWithUs(started);
    for (const stream of [started.stdout, started.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        output = (output + chunk.toString("utf8")).slice(-maxOutputChars);
      });
    }
    const died = once(started, "exit").then(() => {
      throw new Error(`session-store ended before it was ready: ${output.slice(-2000)}`);
    });
    died.catch(() => undefined);
    const ready = eventually(async () => JSON.parse(await readFile(readyFile, "utf8")), {
      timeoutMs: readyMs,
      everyMs: 20,
    });
    await Promise.race([ready, died]);
  };
  return {
    address,
    output: () => output,
    async start() {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await startOnce();
        } catch (error) {
          await end("SIGKILL");
          // A damaged log is no reason to try again, unlike a bus that is away.
          if (attempt === startAttempts || String(error).includes("LOG_DAMAGED")) throw error;
        }
      }
    },
    kill9: () => end("SIGKILL"),
    async stop() {
      await end("SIGTERM");
      await folder.cleanup();
    },
  };
}
