/** A service as a real process at a fixed address, which is killed and, as a supervisor would, brought up again. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { endWithUs, eventually, freePort, nodeEnv } from "@manyhands/testkit";
import { root } from "../tidy/sources.ts";

const readyMs = 60_000;
const startAttempts = 5;
const maxOutputChars = 40_000;

/** Services that tests run so. */
export type ServiceName = "harness" | "session-store" | "sandbox-manager" | "vault-proxy";

/** What a process is made of. */
export interface ServiceProcessOptions {
  readonly service: ServiceName;
  /** Its name over all its lives. */
  readonly name: string;
  /** Where its ready files go. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
}

/** One service in a process of its own. */
export class ServiceProcess {
  readonly service: ServiceName;
  readonly name: string;
  /** `host:port` of its gRPC, the same in every life. */
  readonly address: string;
  private readonly options: ServiceProcessOptions;
  private child: ChildProcess | undefined;
  private life = 0;
  private written = "";
  private known: Readonly<Record<string, string>> = {};

  constructor(options: ServiceProcessOptions, address: string) {
    this.options = options;
    this.service = options.service;
    this.name = options.name;
    this.address = address;
  }

  /** One at an address of its own, not started yet. */
  static async create(options: ServiceProcessOptions): Promise<ServiceProcess> {
    return new ServiceProcess(options, `127.0.0.1:${await freePort()}`);
  }

  /** Instance id of the present life. */
  get instanceId(): string {
    return `${this.name}-${this.life}`;
  }

  /** Its listeners in the present life, by name. */
  get addresses(): Readonly<Record<string, string>> {
    return this.known;
  }

  /** The newest of what all its lives wrote. */
  get output(): string {
    return this.written;
  }

  /** Process id while it runs. */
  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Brings it up; tries again when it refuses, as it may while what it needs is away. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.startOnce();
      } catch (error) {
        await this.end("SIGKILL");
        if (attempt === startAttempts) throw error;
      }
    }
  }

  /** A signal without waiting for anything. */
  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** Ends it and waits for its end. Nothing happens when it does not run. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const ending = this.child;
    this.child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = once(ending, "exit");
    ending.kill(signal);
    await ended;
  }

  private async startOnce(): Promise<void> {
    this.life += 1;
    const { service, folder, env } = this.options;
    const readyFile = path.join(folder, `${this.instanceId}.ready.json`);
    await rm(readyFile, { force: true });
    const main = path.join(root, "services", service, "src/main.ts");
    const child = spawn(process.execPath, ["--conditions=source", main], {
      env: {
        ...nodeEnv(),
        MH_GRPC_LISTEN: this.address,
        MH_READY_FILE: readyFile,
        MH_INSTANCE_ID: this.instanceId,
        MH_LOG_LEVEL: "warn",
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child = child;
    endWithUs(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.written = (this.written + text).slice(-maxOutputChars);
      });
    }
    const died = once(child, "exit").then(() => {
      throw new Error(`${this.instanceId} ended before it was ready:\n${this.written.slice(-3000)}`);
    });
    died.catch(() => undefined);
    const ready = eventually(async () => JSON.parse(await readFile(readyFile, "utf8")), {
      timeoutMs: readyMs,
      everyMs: 15,
    });
    ready.catch(() => undefined);
    const { addresses } = await Promise.race([ready, died]);
    this.known = addresses;
  }
}
