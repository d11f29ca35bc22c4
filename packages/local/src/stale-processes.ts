import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isSameProcessAlive, type ProcessIdentity } from "../bootstrap/process-identity.mjs";
import { readJsonIfThere } from "./private-file.ts";
import type { Progress } from "./progress.ts";

const TERM_MS = 5_000;
const KILL_MS = 2_000;
const POLL_MS = 50;

/**
 * Ends what a killed supervisor left running. Only processes recorded in `runDir` whose id *and* start time are
 * those of the record: a stranger that got the same id is left alone.
 */
export async function endStaleProcesses(runDir: string, progress: Progress): Promise<void> {
  for (const file of recordFiles(runDir)) {
    const record = toRecord(readJsonIfThere(file));
    if (record !== undefined && isSameProcessAlive(record)) {
      progress(`ending ${record.name} (process ${record.pid}), left behind by an earlier start`);
      await endProcess(record);
    }
    rmSync(file, { force: true });
  }
}

async function endProcess(record: ProcessIdentity): Promise<void> {
  const limits = [
    { signal: "SIGTERM", waitMs: TERM_MS },
    { signal: "SIGKILL", waitMs: KILL_MS },
  ] as const;
  for (const { signal, waitMs } of limits) {
    try {
      process.kill(record.pid, signal);
    } catch {
      return;
    }
    const deadline = performance.now() + waitMs;
    while (performance.now() < deadline) {
      if (!isSameProcessAlive(record)) return;
      await delay(POLL_MS);
    }
  }
}

function recordFiles(runDir: string): string[] {
  try {
    return readdirSync(runDir)
      .filter((file) => file.endsWith(".process.json"))
      .map((file) => join(runDir, file));
  } catch {
    return [];
  }
}

function toRecord(value: unknown): (ProcessIdentity & { readonly name: string }) | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (!("pid" in value) || !("start" in value) || !("name" in value)) return undefined;
  const { pid, start, name } = value;
  if (typeof pid !== "number" || typeof start !== "string" || typeof name !== "string") return undefined;
  return { pid, start, name };
}
