import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { installPackage } from "./apt-install.ts";
import { type DockerEngine, findDockerEngine } from "./docker-engine.ts";
import { tailOfLog } from "./log-file.ts";
import { checkoutPaths } from "./paths.ts";
import type { Progress } from "./progress.ts";
import { SetupError } from "./setup-error.ts";

const START_MS = 60_000;
const STOP_MS = 20_000;
const POLL_MS = 200;

type RunningEngine = Extract<DockerEngine, { answers: true }>;

/** A Docker Engine and how to leave it as it was found. */
export interface EngineForTests {
  readonly engine: RunningEngine;
  /** Ends the daemon if it was started here; otherwise does nothing. */
  stop(): Promise<void>;
}

/**
 * The engine that answers; else, only when `mayInstall`, installs docker.io and starts dockerd (root and apt
 * needed). Otherwise throws what to do: tests of Docker hands are never silently left out.
 */
export async function engineForTests(mayInstall: boolean, progress: Progress): Promise<EngineForTests> {
  const found = await findDockerEngine();
  if (found.answers) return { engine: found, stop: () => Promise.resolve() };
  if (!mayInstall || process.getuid?.() !== 0) {
    throw new SetupError(`the integration and end-to-end tests need a Docker Engine: ${found.reason}`, {
      advice:
        "Start one, or run npm test as root on Debian or Ubuntu, which installs docker.io. Without: npm test -- --only unit",
    });
  }
  if (!isInstalled()) await installPackage("docker.io", "Install a Docker Engine yourself.", progress);
  return startDaemon(progress);
}

function isInstalled(): boolean {
  return ["/usr/sbin/dockerd", "/usr/bin/dockerd", "/usr/local/bin/dockerd"].some((path) => existsSync(path));
}

async function startDaemon(progress: Progress): Promise<EngineForTests> {
  const logFile = join(checkoutPaths.logs, "dockerd.log");
  mkdirSync(checkoutPaths.logs, { recursive: true });
  progress(`starting dockerd (log: ${logFile})`);
  const log = openSync(logFile, "a");
  const daemon = spawn("dockerd", [], { stdio: ["ignore", log, log], detached: true });
  closeSync(log);
  let ended = false;
  daemon.once("exit", () => {
    ended = true;
  });
  daemon.once("error", () => {
    ended = true;
  });
  const deadline = performance.now() + START_MS;
  while (!ended && performance.now() < deadline) {
    const engine = await findDockerEngine();
    if (engine.answers) return { engine, stop: () => stopDaemon(daemon.pid, () => ended) };
    await delay(POLL_MS);
  }
  await stopDaemon(daemon.pid, () => ended);
  throw new SetupError(`dockerd did not answer within ${START_MS / 1000} s`, {
    advice: `See ${logFile}.`,
    details: tailOfLog(logFile),
  });
}

async function stopDaemon(pid: number | undefined, hasEnded: () => boolean): Promise<void> {
  if (pid === undefined) return;
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    if (hasEnded()) return;
    process.kill(pid, signal);
    const deadline = performance.now() + STOP_MS;
    while (!hasEnded() && performance.now() < deadline) await delay(POLL_MS);
  }
}
