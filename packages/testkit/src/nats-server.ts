import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { endWithUs } from "./end-with-us.ts";
import { eventually } from "./eventually.ts";
import { freePort } from "./free-port.ts";
import { findNatsServer } from "./nats-binary.ts";
import { tempDir } from "./temp-dir.ts";

/** How a test server is started. */
export type NatsServerOptions = {
  /** Each write is on disk before it is acknowledged, as in production. Default false: tests that only need order are faster. */
  readonly syncAlways?: boolean;
  /** Where streams are stored; default a new temporary folder, removed on stop. A given folder is never removed. */
  readonly dir?: string;
  /** Default: a free port, kept over a restart. */
  readonly port?: number;
  /** Keep the temporary folder on stop. */
  readonly keep?: boolean;
  /** More lines for the server's configuration file. */
  readonly config?: string;
};

/** A running nats-server with JetStream on loopback. */
export type NatsServer = {
  /** `nats://127.0.0.1:<port>`. */
  readonly url: string;
  readonly port: number;
  /** Base URL of the HTTP monitoring port (`/varz`, `/jsz`, `/healthz`). */
  readonly monitorUrl: string;
  /** The store folder. */
  readonly dir: string;
  /** The process now running; undefined when stopped. */
  readonly pid: number | undefined;
  /** Ends the server (default SIGTERM), waits for its end and removes the temporary folder. Twice is fine. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** SIGKILL, waited for; the store stays for `restart`. */
  kill9(): Promise<void>;
  /** Starts it again on the same port and store; stops it first when it runs. */
  restart(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

const READY_MS = 15_000;
const STOP_MS = 10_000;
const START_ATTEMPTS = 3;

/** Starts a real nats-server and waits until JetStream answers. Throws with the server's log when it does not. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const binary = findNatsServer();
  const temporary = options.dir === undefined ? await tempDir("manyhands-nats-") : undefined;
  const dir = options.dir ?? temporary?.path ?? "";
  let failure: unknown;
  for (let attempt = 1; attempt <= START_ATTEMPTS; attempt += 1) {
    // A free port can be lost to somebody else between finding and using it; a given one is not changed.
    const port = options.port ?? (await freePort());
    const instance = new Instance(binary, dir, port, await freePort(), options);
    try {
      await instance.start();
      return serverOf(instance, async () => {
        if (!options.keep) {
          await temporary?.cleanup();
        }
      });
    } catch (error) {
      failure = error;
      await instance.end("SIGKILL");
      if (options.port !== undefined) {
        break;
      }
    }
  }
  await temporary?.cleanup();
  throw failure;
}

function serverOf(instance: Instance, cleanup: () => Promise<void>): NatsServer {
  const stop = async (signal: NodeJS.Signals = "SIGTERM") => {
    await instance.end(signal);
    await cleanup();
  };
  return {
    url: `nats://127.0.0.1:${instance.port}`,
    port: instance.port,
    monitorUrl: `http://127.0.0.1:${instance.monitorPort}`,
    dir: instance.dir,
    get pid() {
      return instance.pid;
    },
    stop,
    kill9: () => instance.end("SIGKILL"),
    async restart() {
      await instance.end("SIGTERM");
      await instance.start();
    },
    [Symbol.asyncDispose]: () => stop(),
  };
}

class Instance {
  readonly dir: string;
  readonly port: number;
  readonly monitorPort: number;
  readonly #binary: string;
  readonly #options: NatsServerOptions;
  #child: ChildProcess | undefined;

  constructor(binary: string, dir: string, port: number, monitorPort: number, options: NatsServerOptions) {
    this.#binary = binary;
    this.dir = dir;
    this.port = port;
    this.monitorPort = monitorPort;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async start(): Promise<void> {
    const configPath = join(this.dir, "server.conf");
    const logPath = join(this.dir, "server.log");
    await mkdir(this.dir, { recursive: true });
    await rm(logPath, { force: true });
    await writeFile(configPath, this.#config(logPath));
    const child = spawn(this.#binary, ["-c", configPath], { stdio: ["ignore", "ignore", "pipe"] });
    // What it says before its log file is open: a refused configuration.
    let words = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-4000);
    });
    this.#child = child;
    endWithUs(child);
    const failed = new Promise<never>((_, reject) => {
      child.once("error", reject);
      child.once("exit", (code, signal) => reject(new Error(`nats-server ended with ${code ?? signal}`)));
    });
    failed.catch(() => undefined);
    await Promise.race([failed, eventually(() => this.#ready(child), { timeoutMs: READY_MS, everyMs: 15 })]).catch(
      async (error: unknown) => {
        const log = await readFile(logPath, "utf8").catch(() => "");
        throw new Error(`nats-server did not become ready on port ${this.port}:\n${words}${log.slice(-4000)}`, {
          cause: error,
        });
      },
    );
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) {
      return;
    }
    const ended = once(child, "exit");
    child.kill(signal);
    const killer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(killer);
  }

  async #ready(child: ChildProcess): Promise<boolean> {
    if (child.exitCode !== null || child.signalCode !== null) {
      return true;
    }
    const response = await fetch(`http://127.0.0.1:${this.monitorPort}/healthz?js-enabled-only=true`);
    return response.ok && (await response.text()).includes("ok");
  }

  #config(logPath: string): string {
    return [
      `listen: "127.0.0.1:${this.port}"`,
      `http: "127.0.0.1:${this.monitorPort}"`,
      `log_file: ${JSON.stringify(logPath)}`,
      `server_name: "test-${this.port}"`,
      "jetstream {",
      `  store_dir: ${JSON.stringify(join(this.dir, "jetstream"))}`,
      `  sync_interval: ${this.#options.syncAlways ? "always" : '"2m"'}`,
      "}",
      this.#options.config ?? "",
      "",
    ].join("\n");
  }
}
