import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** Where bwrap is looked for. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const READY_MS = 10_000;
const DEATH_MS = 5000;
const POLL_MS = 5;
const LOG_TAIL_CHARS = 500;

/** Starts the keeper of a new hand and resolves when its socket can be connected to; rejects with what it said. */
export async function startKeeper(agent: string, folder: string, args: readonly string[]): Promise<void> {
  const log = await open(join(folder, "log"), "a", 0o600);
  try {
    // Not ours to take down with us: it is the hand's engine, in a session of its own.
    const child = spawn(agent, ["keep", "--folder", folder, ...args], {
      detached: true,
      stdio: ["ignore", "pipe", log.fd],
      env: { PATH },
      cwd: "/",
    });
    await saysReady(child);
    child.stdout?.destroy();
    child.unref();
  } catch (error) {
    const said = await lastWords(folder);
    throw new Error(said || (error instanceof Error ? error.message : "the keeper could not be started"));
  } finally {
    await log.close();
  }
}

async function saysReady(child: ChildProcess): Promise<void> {
  const { stdout } = child;
  if (!stdout) throw new Error("the keeper has no stdout");
  const late = AbortSignal.timeout(READY_MS);
  const failed = once(child, "error", { signal: late }).then(([error]) => Promise.reject(error));
  failed.catch(() => undefined);
  const [text] = await Promise.race([
    once(stdout, "data", { signal: late }),
    once(stdout, "end", { signal: late }).then(() => [""]),
    failed,
  ]);
  if (!String(text).startsWith("ready")) throw new Error("the keeper ended at once");
}

/** A new attachment to a hand. Undefined when no keeper listens any more. */
export async function connectKeeper(folder: string): Promise<Socket | undefined> {
  const socket = connect(join(folder, "socket"));
  try {
    await once(socket, "connect");
    return socket;
  } catch (error) {
    socket.destroy();
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "ECONNREFUSED") return undefined;
    throw error;
  }
}

/** The keeper's process number; undefined when it is not running. Recognised by its command line, not by the number alone. */
export async function keeperPid(folder: string): Promise<number | undefined> {
  try {
    const pid = Number((await readFile(join(folder, "keeper"), "utf8")).trim());
    const commandLine = (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0");
    return commandLine[1] === "keep" && commandLine.includes(folder) ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Ends a keeper, and with it the hand (K1). Resolves when it is gone. */
export async function endKeeper(folder: string): Promise<void> {
  const deadline = performance.now() + DEATH_MS;
  for (;;) {
    const pid = await keeperPid(folder);
    if (pid === undefined) return;
    if (performance.now() > deadline) throw new Error(`the keeper of ${folder} (process ${pid}) does not end`);
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      return; // ended meanwhile
    }
    await delay(POLL_MS);
  }
}

/** The end of what keeper, bwrap and agent said; empty when nothing. */
export async function lastWords(folder: string): Promise<string> {
  try {
    return (await readFile(join(folder, "log"), "utf8")).slice(-LOG_TAIL_CHARS).trim();
  } catch {
    return "";
  }
}
