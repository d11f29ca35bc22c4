/** `npm start` as a person uses it: from the command line, with signals, twice, and after a crash. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import { type DevJson, readDevJson, startOfProcess } from "@manyhands/local";
import { eventually, type TempDir, tempDir } from "@manyhands/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { root } from "../tidy/sources.ts";

const upMs = 60_000;
const stopMs = 20_000;

interface Started {
  child: ChildProcess;
  stdout: string;
  stderr: string;
}

describe("npm start", () => {
  let dir: TempDir;
  let started: Started[] = [];

  beforeEach(async () => {
    dir = await tempDir();
  });
  afterEach(async () => {
    for (const { child } of started) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGTERM");
        await once(child, "exit");
      }
    }
    started = [];
    await dir.cleanup();
  });

  it("brings everything up, keeps data and ports over a restart, and ends all it started", async () => {
    const first = await up(run());
    expect(statSync(path.join(dir.path, "dev.json")).mode & 0o777).toBe(0o600);
    const agent = await clientOf(first.dev).beta.agents.create({ name: "kept", model: "claude-sonnet-5-5" });

    const second = run();
    await once(second.child, "exit");
    expect(second.child.exitCode).toBe(0);
    expect(second.stderr).toContain("already running");
    expect(second.stdout).toContain(first.dev.gateway_url);

    const processes = recordedProcesses();
    expect(processes.length).toBeGreaterThanOrEqual(7);
    await stop(first.started, "SIGINT");
    expect(first.started.child.exitCode, first.started.stderr).toBe(0);
    expect(processes.filter(isAlive)).toEqual([]);
    expect(existsSync(path.join(dir.path, "dev.json"))).toBe(false);

    const again = await up(run());
    expect(again.dev.gateway_url).toBe(first.dev.gateway_url);
    expect((await clientOf(again.dev).beta.agents.retrieve(agent.id)).name).toBe("kept");
    await stop(again.started, "SIGTERM");
  });

  it("ends every process when it is killed itself, and starts again after that", async () => {
    const first = await up(run());
    const processes = recordedProcesses();
    first.started.child.kill("SIGKILL");
    await eventually(() => processes.every((pid) => !isAlive(pid)), { timeoutMs: stopMs });
    const again = await up(run());
    await stop(again.started, "SIGINT");
    expect(again.started.child.exitCode, again.started.stderr).toBe(0);
  });

  it("forgets everything with --ephemeral", async () => {
    const { dev, started: platform } = await up(run("--ephemeral"));
    expect(existsSync(dev.data_dir)).toBe(true);
    await stop(platform, "SIGINT");
    expect(existsSync(dev.data_dir)).toBe(false);
  });

  it("starts as many as asked for", async () => {
    const { dev, started: platform } = await up(run("--harness", "2", "--sandbox-manager", "2"));
    expect(dev.grpc.harness.split(",")).toHaveLength(2);
    expect(dev.grpc.sandbox_manager.split(",")).toHaveLength(2);
    await stop(platform, "SIGINT");
  });

  function run(...args: string[]): Started {
    const cli = path.join(root, "packages/local/src/cli.ts");
    const child = spawn(process.execPath, ["--conditions=source", cli, "start", "--hands", "virtual", ...args], {
      cwd: root,
      env: { ...process.env, MH_STATE_DIR: dir.path },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const one: Started = { child, stdout: "", stderr: "" };
    child.stdout.on("data", (chunk: Buffer) => {
      one.stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      one.stderr += chunk.toString();
    });
    started.push(one);
    return one;
  }

  async function up(one: Started): Promise<{ started: Started; dev: DevJson }> {
    await eventually(
      () => {
        if (one.child.exitCode !== null) throw new Error(one.stderr);
        return one.stdout.includes("Manyhands is running");
      },
      { timeoutMs: upMs, everyMs: 50 },
    );
    const dev = readDevJson(path.join(dir.path, "dev.json"));
    if (dev === undefined) throw new Error("there is no dev.json");
    return { started: one, dev };
  }

  async function stop(one: Started, signal: NodeJS.Signals): Promise<void> {
    one.child.kill(signal);
    await eventually(() => one.child.exitCode !== null || one.child.signalCode !== null, { timeoutMs: stopMs });
  }

  function recordedProcesses(): number[] {
    const run = path.join(dir.path, "run");
    const records = readdirSync(run).filter((file) => file.endsWith(".process.json"));
    return records.map((file) => Number(JSON.parse(readFileSync(path.join(run, file), "utf8")).pid));
  }
});

function clientOf(dev: DevJson): Anthropic {
  return new Anthropic({ baseURL: dev.gateway_url, apiKey: dev.api_key, maxRetries: 0 });
}

/** A zombie has ended too: who would reap it may be long gone. */
function isAlive(pid: number): boolean {
  return startOfProcess(pid) !== undefined;
}
