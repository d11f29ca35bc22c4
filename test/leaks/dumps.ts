/**
 * Real dumps of processes that have no business with a credential: Node's heap snapshot and diagnostic report, made by
 * signal while the process runs, and the core file of a crash by SIGABRT. The vault-proxy makes none of them
 * (`services/vault-proxy/src/no-dumps.ts`).
 */
import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import type { Platform } from "@manyhands/local";
import { eventually } from "@manyhands/testkit";
import type { Sweeper } from "./canaries.ts";

/** Services that dumps are made of. */
export const DUMPED = ["gateway", "harness", "sandbox-manager"] as const;

const run = promisify(execFile);
const HEAP_SIGNAL = "SIGUSR2";
const REPORT_SIGNAL = "SIGVTALRM";
const WAIT = { timeoutMs: 60_000, everyMs: 50 };

/** What a service must be started with, so that it dumps into this folder. */
export function dumpOptions(folder: string): string {
  return [
    `--diagnostic-dir=${folder}`,
    `--heapsnapshot-signal=${HEAP_SIGNAL}`,
    `--report-directory=${folder}`,
    "--report-on-signal",
    `--report-signal=${REPORT_SIGNAL}`,
  ].join(" ");
}

/** Makes them and looks through them. The processes are dead then: nothing else can be looked through after it. */
export async function sweepDumps(sweeper: Sweeper, platform: Platform, folder: string, run: string): Promise<void> {
  const isDumped = (service: string) => DUMPED.some((one) => one === service);
  for (const { service, index, pid } of platform.processes().filter((one) => isDumped(one.service))) {
    const name = `${service}-${index}`;
    process.kill(pid, HEAP_SIGNAL);
    process.kill(pid, REPORT_SIGNAL);
    const [heap, report] = await eventually(async () => {
      const mine = (await readdir(folder)).filter((file) => file.includes(`.${pid}.`));
      const found = [".heapsnapshot", ".json"].map((kind) => mine.find((file) => file.endsWith(kind)));
      return found.every((file) => file !== undefined) && found;
    }, WAIT);
    // A snapshot is written in one go: who answers again has finished it.
    await fetch(`http://${await adminOf(run, name)}/healthz`);
    for (const [place, file] of [
      ["heap snapshots", heap],
      ["diagnostic reports", report],
    ] as const) {
      await sweeper.lookAll(place, name, createReadStream(path.join(folder, file ?? "")));
    }
    await sweepCore(sweeper, name, pid);
  }
  await rm(folder, { recursive: true, force: true });
}

/** Crashes a process; where the machine sends core files elsewhere, its memory was all that could be looked through. */
async function sweepCore(sweeper: Sweeper, name: string, pid: number): Promise<void> {
  const pattern = (await readFile("/proc/sys/kernel/core_pattern", "utf8")).trim();
  const folder = await readlink(`/proc/${pid}/cwd`);
  await run("prlimit", ["--pid", String(pid), "--core=unlimited:unlimited"]);
  const startedMs = Date.now();
  process.kill(pid, "SIGABRT");
  await eventually(() => !isAlive(pid), WAIT);
  if (/[|/%]/.test(pattern)) return;
  for (const file of [pattern, `${pattern}.${pid}`].map((one) => path.join(folder, one))) {
    const facts = await stat(file).catch(() => undefined);
    if (!facts?.isFile() || facts.mtimeMs < startedMs - 1000) continue;
    await sweeper.lookAll("core dumps", name, createReadStream(file, { highWaterMark: 1024 * 1024 }));
    await rm(file);
  }
}

async function adminOf(folder: string, name: string): Promise<string> {
  const ready: { addresses: { admin?: string } } = JSON.parse(
    await readFile(path.join(folder, `${name}.ready.json`), "utf8"),
  );
  if (ready.addresses.admin === undefined) throw new Error(`${name} has no admin listener`);
  return ready.addresses.admin;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
