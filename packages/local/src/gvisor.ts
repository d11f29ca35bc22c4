import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type Docker from "dockerode";
import { installPackage } from "./apt-install.ts";
import type { Progress } from "./progress.ts";
import { lastLines, runCommand } from "./run-command.ts";
import { messageOf, SetupError } from "./setup-error.ts";

const RUNTIME = "runsc";
const PLACES = ["/usr/bin/runsc", "/usr/local/bin/runsc", "/usr/sbin/runsc"];
const DAEMON_JSON = "/etc/docker/daemon.json";
const DAEMON_PID = "/var/run/docker.pid";
/** Newer releases have systrap only, older ones ptrace only; without control groups a hand's limits would be words. */
const PLATFORMS = ["systrap", "ptrace"];
const RELOAD_MS = 5_000;
const POLL_MS = 100;
const TRIAL_MS = 60_000;

/** gVisor as a runtime of the engine, or why not, and how to leave the machine as it was found. */
export interface Gvisor {
  readonly problem: string | undefined;
  restore(): Promise<void>;
}

const asFound = (problem?: string): Gvisor => ({ problem, restore: () => Promise.resolve() });

/**
 * The engine's runtime `runsc`. Where it has none and `mayInstall` (root and apt), installs gVisor's package and
 * registers it for as long as it is needed: the engine reads its settings again and keeps running. Never throws.
 */
export async function gvisorForAttacks(
  docker: Docker,
  image: string,
  mayInstall: boolean,
  progress: Progress,
): Promise<Gvisor> {
  try {
    if (await knowsRuntime(docker)) return asFound();
    if (!mayInstall || process.getuid?.() !== 0) return asFound("the engine has no runtime runsc (gVisor)");
    if (!PLACES.some(existsSync)) await installPackage("runsc", "Install gVisor yourself.", progress);
    const path = PLACES.find(existsSync);
    if (path === undefined) return asFound("the package runsc brought no runsc");
    return await register(docker, image, path, progress);
  } catch (error) {
    return asFound(messageOf(error));
  }
}

async function register(docker: Docker, image: string, path: string, progress: Progress): Promise<Gvisor> {
  const before = existsSync(DAEMON_JSON) ? readFileSync(DAEMON_JSON, "utf8") : undefined;
  const restore = async () => {
    // Without a list of runtimes the engine keeps the one it has, so an empty one is shown to it first.
    writeFileSync(DAEMON_JSON, withoutRuntime(before));
    reload();
    await eventuallyKnows(docker, false);
    if (before === undefined) rmSync(DAEMON_JSON, { force: true });
    else writeFileSync(DAEMON_JSON, before);
  };
  let failure = "";
  for (const platform of PLATFORMS) {
    progress(`registering runsc (${platform}) with the engine until the end of the attacks`);
    mkdirSync(dirname(DAEMON_JSON), { recursive: true });
    writeFileSync(DAEMON_JSON, withRuntime(before, path, [`--platform=${platform}`, "--network=none"]));
    reload();
    if (!(await eventuallyKnows(docker, true))) throw new SetupError("the engine did not take runsc", { advice: "" });
    const args = ["run", "--rm", "--runtime", RUNTIME, "--network", "none", image, "true"];
    const trial = await runCommand({ command: "docker", args, timeoutMs: TRIAL_MS });
    if (trial.code === 0) return { problem: undefined, restore };
    failure = lastLines(trial.output, 1);
  }
  await restore();
  return asFound(`runsc starts no container here: ${failure}`);
}

function withRuntime(before: string | undefined, path: string, runtimeArgs: readonly string[]): string {
  const settings: unknown = before === undefined ? {} : JSON.parse(before);
  if (typeof settings !== "object" || settings === null)
    throw new SetupError(`${DAEMON_JSON} is not an object`, { advice: "" });
  const known = "runtimes" in settings && typeof settings.runtimes === "object" ? settings.runtimes : {};
  return `${JSON.stringify({ ...settings, runtimes: { ...known, [RUNTIME]: { path, runtimeArgs } } }, null, 2)}\n`;
}

function withoutRuntime(before: string | undefined): string {
  const settings: unknown = before === undefined ? {} : JSON.parse(before);
  if (typeof settings !== "object" || settings === null) return '{"runtimes":{}}';
  return JSON.stringify({ runtimes: {}, ...settings });
}

function reload(): void {
  process.kill(Number(readFileSync(DAEMON_PID, "utf8").trim()), "SIGHUP");
}

async function knowsRuntime(docker: Docker): Promise<boolean> {
  const info: unknown = await docker.info();
  const runtimes = typeof info === "object" && info !== null && "Runtimes" in info ? info.Runtimes : undefined;
  return typeof runtimes === "object" && runtimes !== null && RUNTIME in runtimes;
}

async function eventuallyKnows(docker: Docker, wanted: boolean): Promise<boolean> {
  const deadline = performance.now() + RELOAD_MS;
  while ((await knowsRuntime(docker)) !== wanted) {
    if (performance.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}
