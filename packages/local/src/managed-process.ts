import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { startOfProcess } from "../bootstrap/process-identity.mjs";
import { type LogFile, openLogFile, tailOfLog } from "./log-file.ts";
import { writePrivateFile } from "./private-file.ts";
import type { Progress } from "./progress.ts";
import { forgetReadiness, isReady, type ReadyCheck } from "./ready-check.ts";
import { SetupError } from "./setup-error.ts";

/** One process to keep running. */
export interface ProcessSpec {
  readonly service: string;
  /** Counted from 1 within the service. */
  readonly index: number;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment: nothing of the supervisor's own leaks in. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly ready: ReadyCheck;
  readonly readyMs: number;
  readonly logFile: string;
  /** Where its process id is kept for the next start to find what a killed supervisor left. */
  readonly recordFile: string;
}

/** Restart policy; tests make it faster. */
export interface RestartPolicy {
  readonly firstBackoffMs: number;
  readonly maxBackoffMs: number;
  /** Up this long counts as healthy again: the backoff starts over. */
  readonly stableMs: number;
  readonly maxStartAttempts: number;
  readonly maxRestarts: number;
}

/** The policy of `npm start`. */
export const restartPolicy: RestartPolicy = {
  firstBackoffMs: 100,
  maxBackoffMs: 5_000,
  stableMs: 20_000,
  maxStartAttempts: 3,
  maxRestarts: 12,
};

const READY_POLL_MS = 25;

/** Keeps one process running: starts it, knows when it is ready, starts it again when it crashes, stops it in bounds. */
export class ManagedProcess {
  readonly spec: ProcessSpec;
  readonly #policy: RestartPolicy;
  readonly #progress: Progress;
  readonly #log: LogFile;
  readonly #stopping = new AbortController();
  #child: ChildProcess | undefined;
  #ready = Promise.withResolvers<void>();
  #isReady = false;
  #wasReady = false;
  #restartAsked = false;
  #loop: Promise<void> | undefined;

  constructor(spec: ProcessSpec, progress: Progress, policy: RestartPolicy = restartPolicy) {
    this.spec = spec;
    this.#policy = policy;
    this.#progress = progress;
    this.#log = openLogFile(spec.logFile);
    this.#ready.promise.catch(() => undefined);
  }

  get name(): string {
    return `${this.spec.service}-${this.spec.index}`;
  }

  /** The running process, undefined between two runs. */
  get pid(): number | undefined {
    return this.#child?.exitCode === null && this.#child.signalCode === null ? this.#child.pid : undefined;
  }

  /** Resolves when it is ready; rejects with the end of its log when it cannot be brought up. */
  start(): Promise<void> {
    this.#loop ??= this.#keepRunning();
    return this.#ready.promise;
  }

  /** Resolves when the present or the next run is ready. */
  whenReady(): Promise<void> {
    return this.#ready.promise;
  }

  kill(signal: NodeJS.Signals): void {
    this.#markNotReady();
    this.#child?.kill(signal);
  }

  /** Stops this run with SIGTERM and starts another at once; resolves when that one is ready. */
  async restart(deadlineMs: number): Promise<void> {
    const child = this.#child;
    this.#restartAsked = true;
    this.#markNotReady();
    if (child !== undefined) await end(child, deadlineMs);
    await this.#ready.promise;
  }

  /** SIGTERM, and SIGKILL after the deadline; nothing it started in its own process group survives. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping.abort();
    if (this.#child !== undefined) await end(this.#child, deadlineMs);
    await this.#loop;
    rmSync(this.spec.recordFile, { force: true });
    forgetReadiness(this.spec.ready);
    this.#log.close();
  }

  async #keepRunning(): Promise<void> {
    let failures = 0;
    while (!this.#stopping.signal.aborted) {
      const startedAt = performance.now();
      const ending = await this.#runOnce();
      if (this.#stopping.signal.aborted) break;
      this.#markNotReady();
      if (this.#restartAsked) {
        this.#restartAsked = false;
        continue;
      }
      failures = performance.now() - startedAt > this.#policy.stableMs ? 1 : failures + 1;
      const limit = this.#wasReady ? this.#policy.maxRestarts : this.#policy.maxStartAttempts;
      if (failures >= limit) return this.#giveUp(ending, failures);
      const backoffMs = Math.min(this.#policy.firstBackoffMs * 2 ** (failures - 1), this.#policy.maxBackoffMs);
      this.#progress(`${this.name} ${ending}; starting it again in ${backoffMs} ms`);
      await delay(backoffMs, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
    this.#ready.reject(new SetupError(`${this.name} was stopped`, { advice: "" }));
  }

  /** One run from spawn to exit; says in words how it ended. */
  async #runOnce(): Promise<string> {
    forgetReadiness(this.spec.ready);
    const child = this.#spawn();
    const exited = exitOf(child);
    const deadline = performance.now() + this.spec.readyMs;
    const settled = Symbol("exited");
    for (;;) {
      if (await isReady(this.spec.ready, child.pid ?? 0)) break;
      const first = await Promise.race([exited.then(() => settled), delay(READY_POLL_MS)]);
      if (first === settled) return exited;
      if (performance.now() > deadline) {
        await end(child, 0);
        return `was not ready after ${this.spec.readyMs} ms`;
      }
    }
    this.#isReady = true;
    this.#wasReady = true;
    this.#ready.resolve();
    return exited;
  }

  /** Detached, so that Ctrl-C of the terminal reaches the supervisor alone, which then stops things in order. */
  #spawn(): ChildProcess {
    const { command, args, cwd, env, recordFile } = this.spec;
    mkdirSync(dirname(recordFile), { recursive: true });
    const child = spawn(command, [...args], {
      cwd,
      env: { ...env, MH_PARENT_PIPE: "3" },
      detached: true,
      stdio: ["ignore", this.#log.descriptor, this.#log.descriptor, "pipe"],
    });
    this.#child = child;
    if (child.pid !== undefined) {
      const start = startOfProcess(child.pid) ?? "";
      writePrivateFile(recordFile, JSON.stringify({ name: this.name, pid: child.pid, start, command }));
    }
    return child;
  }

  #markNotReady(): void {
    if (!this.#isReady) return;
    this.#isReady = false;
    this.#ready = Promise.withResolvers<void>();
    this.#ready.promise.catch(() => undefined);
  }

  #giveUp(ending: string, failures: number): void {
    this.#progress(`${this.name} ${ending}; given up after ${failures} attempts`);
    this.#ready.reject(
      new SetupError(`${this.name} ${ending} (${failures} attempts)`, {
        advice: `Its whole log: ${this.spec.logFile}`,
        details: tailOfLog(this.spec.logFile),
      }),
    );
  }
}

function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(`could not be started (${error.message})`));
    child.once("exit", (code, signal) => {
      resolve(signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`);
    });
  });
}

async function end(child: ChildProcess, deadlineMs: number): Promise<void> {
  if (child.pid === undefined) return;
  if (child.exitCode === null && child.signalCode === null) {
    const exited = exitOf(child);
    if (deadlineMs > 0) {
      child.kill("SIGTERM");
      const timer = new AbortController();
      await Promise.race([exited, delay(deadlineMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
      timer.abort();
    }
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await exited;
    }
  }
  killGroup(child.pid);
}

/** What the process started and left behind in its own group. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The usual case: nobody is left.
  }
}
