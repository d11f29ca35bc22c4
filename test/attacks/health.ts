/** Whether neighbours and host stay well while somebody attacks. */
import { readFileSync, statfsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Target } from "./target.ts";

const MIB = 1024 * 1024;
const SAMPLES = 5;
const GAP_MS = 100;
/** A neighbour's `true` may take this long under attack; the machine may lose this much for good. */
const MAX_NEIGHBOUR_MS = 2000;
const MAX_LOST_BYTES = 512 * MIB;

interface Host {
  readonly freeDiskBytes: number;
  readonly freeMemoryBytes: number;
}

/** What was found; `problem` is empty when all is well. */
export interface Health {
  readonly text: string;
  readonly problem: string;
}

/** Free space where the engine writes, and free memory, now. */
export function lookAtHost(): Host {
  const disk = statfsSync("/var/lib");
  const memory = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return { freeDiskBytes: disk.bavail * disk.bsize, freeMemoryBytes: Number(memory ?? 0) * 1024 };
}

/** Calls the neighbour while `attack` runs and once after it. */
export async function watchDuring<T>(target: Target, attack: () => Promise<T>): Promise<{ found: T; health: Health }> {
  const before = lookAtHost();
  await target.neighbour.bash("true");
  const times: number[] = [];
  const call = async () => {
    const started = performance.now();
    const { isError, content } = await target.neighbour.bash("echo well");
    if (isError || content !== "well\n") throw new Error(`the neighbour answered ${content.slice(0, 100)}`);
    times.push(performance.now() - started);
  };
  let ended = false;
  const running = attack().finally(() => {
    ended = true;
  });
  running.catch(() => undefined);
  while (!ended && times.length < SAMPLES) {
    await call();
    await delay(GAP_MS);
  }
  const found = await running;
  await call();
  const after = lookAtHost();
  const worst = Math.max(...times);
  const lostDisk = before.freeDiskBytes - after.freeDiskBytes;
  const lostMemory = before.freeMemoryBytes - after.freeMemoryBytes;
  const problems = [
    worst > MAX_NEIGHBOUR_MS ? `a neighbour waited ${worst.toFixed(0)} ms` : "",
    lostDisk > MAX_LOST_BYTES ? `the host lost ${(lostDisk / MIB).toFixed(0)} MiB of disk` : "",
    lostMemory > MAX_LOST_BYTES ? `the host lost ${(lostMemory / MIB).toFixed(0)} MiB of memory` : "",
  ];
  const text = `neighbour at most ${worst.toFixed(0)} ms, host disk ${signed(-lostDisk)} MiB, memory ${signed(-lostMemory)} MiB`;
  return { found, health: { text, problem: problems.filter((problem) => problem !== "").join("; ") } };
}

function signed(bytes: number): string {
  const mib = Math.round(bytes / MIB);
  return mib < 0 ? String(mib) : `+${mib}`;
}
