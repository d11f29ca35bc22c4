import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { eventually, type TempDir, tempDir } from "@manyhands/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startOfProcess } from "../bootstrap/process-identity.mjs";
import { writePrivateFile } from "./private-file.ts";
import { endStaleProcesses } from "./stale-processes.ts";
import { Supervisor, type SupervisorOptions } from "./supervisor.ts";
import { fakeSpec, readJournal } from "./testing/fake-spec.ts";

const policy = { firstBackoffMs: 10, maxBackoffMs: 50, stableMs: 60_000, maxStartAttempts: 2, maxRestarts: 4 };
const isAlive = (pid: number) => startOfProcess(pid) !== undefined;
const silent = () => undefined;

describe("Supervisor", () => {
  let dir: TempDir;
  let running: Supervisor[] = [];

  beforeEach(async () => {
    dir = await tempDir();
  });
  afterEach(async () => {
    await Promise.all(running.map((supervisor) => supervisor.stop()));
    running = [];
    await dir.cleanup();
  });

  function supervise(options: Partial<SupervisorOptions> = {}): Supervisor {
    const supervisor = new Supervisor({ progress: silent, stopOrder: ["a", "b", "c"], policy, ...options });
    running.push(supervisor);
    return supervisor;
  }

  it("starts waves in order and stops in the order of stopOrder, leaving nothing running", async () => {
    const supervisor = supervise();
    await supervisor.start([[fakeSpec(dir.path, "c")], [fakeSpec(dir.path, "a"), fakeSpec(dir.path, "b")]]);
    const pids = supervisor.processes().map(({ pid }) => pid);
    await supervisor.stop();

    const journal = readJournal(dir.path);
    expect(journal.filter(({ what }) => what === "start")[0]?.name).toBe("c-1");
    expect(journal.filter(({ what }) => what === "term").map(({ name }) => name)).toEqual(["a-1", "b-1", "c-1"]);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it("starts a killed process again, at once known under its new process id", async () => {
    const supervisor = supervise();
    await supervisor.start([[fakeSpec(dir.path, "a")]]);
    const [before] = supervisor.processes();
    supervisor.kill("a", 1, "SIGKILL");
    await supervisor.whenReady("a", 1);
    const [after] = supervisor.processes();
    expect(after?.pid).not.toBe(before?.pid);
    expect(readJournal(dir.path).filter(({ what }) => what === "start")).toHaveLength(2);
  });

  it("restarts one process cleanly and leaves the others alone", async () => {
    const supervisor = supervise();
    await supervisor.start([[fakeSpec(dir.path, "a"), fakeSpec(dir.path, "b")]]);
    await supervisor.restart("a", 1);
    const events = readJournal(dir.path).map(({ what, name }) => `${what} ${name}`);
    expect(events.filter((event) => event.endsWith("a-1"))).toEqual(["start a-1", "term a-1", "start a-1"]);
    expect(events.filter((event) => event.endsWith("b-1"))).toEqual(["start b-1"]);
  });

  it("fails with the end of the log when a process cannot be brought up, and stops the rest", async () => {
    const supervisor = supervise();
    const start = supervisor.start([[fakeSpec(dir.path, "a")], [fakeSpec(dir.path, "b", "crash")]]);
    await expect(start).rejects.toMatchObject({
      message: "b-1 ended with exit code 3 (2 attempts)",
      details: expect.stringContaining("the reason of the crash"),
    });
    expect(readJournal(dir.path).filter(({ what }) => what === "start")).toHaveLength(3);
    expect(supervisor.processes()).toEqual([]);
  });

  it("does not wait longer than readyMs for a process that never becomes ready", async () => {
    const start = supervise().start([[fakeSpec(dir.path, "a", "never-ready")]]);
    await expect(start).rejects.toMatchObject({ message: expect.stringContaining("was not ready after 500 ms") });
  });

  it("kills what ignores SIGTERM once the time for stopping is over, and still stops the others in order", async () => {
    const supervisor = supervise({ stopMs: 1_000 });
    await supervisor.start([[fakeSpec(dir.path, "a", "stubborn"), fakeSpec(dir.path, "b")]]);
    const pids = supervisor.processes().map(({ pid }) => pid);
    const startedAt = performance.now();
    await supervisor.stop();
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(pids.filter(isAlive)).toEqual([]);
    expect(
      readJournal(dir.path)
        .filter(({ what }) => what === "term")
        .map(({ name }) => name),
    ).toEqual(["a-1", "b-1"]);
  });

  it("ends every child when the supervisor itself is killed with SIGKILL", async () => {
    const script = join(import.meta.dirname, "testing", "doomed-supervisor.ts");
    const doomed = spawn(process.execPath, ["--conditions=source", script, dir.path], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(doomed.stdout, "data");
    const pids = readJournal(dir.path).map(({ pid }) => pid);
    expect(pids.filter(isAlive)).toHaveLength(2);
    doomed.kill("SIGKILL");
    await eventually(() => pids.every((pid) => !isAlive(pid)));
    expect(readJournal(dir.path).filter(({ what }) => what === "term")).toHaveLength(2);
  });
});

describe("endStaleProcesses", () => {
  it("ends a recorded process, and leaves a stranger with a reused id alone", async () => {
    await using dir = await tempDir();
    const start = () =>
      spawn(process.execPath, ["-e", "setInterval(() => {}, 60000); console.log(1)"], {
        stdio: ["ignore", "pipe", "ignore"],
      });
    const [stale, stranger] = [start(), start()];
    await Promise.all([once(stale.stdout, "data"), once(stranger.stdout, "data")]);
    const record = (name: string, pid: number | undefined, since: string) =>
      writePrivateFile(join(dir.path, `${name}.process.json`), JSON.stringify({ name, pid, start: since }));
    record("stale-1", stale.pid, startOfProcess(stale.pid ?? 0) ?? "");
    record("stranger-1", stranger.pid, "1");

    await endStaleProcesses(dir.path, silent);

    expect(isAlive(stale.pid ?? 0)).toBe(false);
    expect(isAlive(stranger.pid ?? 0)).toBe(true);
    stranger.kill("SIGKILL");
  });
});
