/**
 * The hand's limits as cgroups, where this process may make some: version 1 beside its own group in each hierarchy,
 * version 2 beside its own group (or below the root). Where it may not, the hand is limited by rlimits alone, and
 * `missing` says which limits that leaves out.
 */
import { access, constants, mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { HandLimits } from "../driver.ts";

const ROOT = "/sys/fs/cgroup";
const CONTROLLERS = ["memory", "pids", "cpu"] as const;
const PERIOD_US = 100_000;
const REMOVE_MS = 5000;
const POLL_MS = 10;

/** One limit. */
export type Controller = (typeof CONTROLLERS)[number];

/** Groups made for one hand. */
export type HandCgroups = {
  readonly folders: readonly string[];
  /** Limits that are not enforced by a group. */
  readonly missing: readonly Controller[];
  /** The group whose out-of-memory count the agent reads, and where it expects it. */
  readonly memory: { readonly folder: string; readonly inside: string } | undefined;
};

type Place = { readonly folder: string; readonly controllers: readonly Controller[]; readonly version: 1 | 2 };

/** Makes the groups and sets the limits. Never throws: what cannot be had is in `missing`. */
export async function makeCgroups(name: string, limits: HandLimits): Promise<HandCgroups> {
  const folders: string[] = [];
  const limited = new Set<Controller>();
  let memory: HandCgroups["memory"];
  for (const place of await places(name)) {
    try {
      await mkdir(place.folder);
      folders.push(place.folder);
    } catch {
      continue;
    }
    for (const controller of place.controllers) {
      if (!(await setLimit(place, controller, limits))) continue;
      limited.add(controller);
      if (controller === "memory")
        memory = { folder: place.folder, inside: place.version === 1 ? `${ROOT}/memory` : ROOT };
    }
  }
  return { folders, missing: CONTROLLERS.filter((controller) => !limited.has(controller)), memory };
}

/** Removes groups whose processes are ending; what still has some after 5 s is an error. */
export async function removeCgroups(folders: readonly string[]): Promise<void> {
  const deadline = performance.now() + REMOVE_MS;
  for (const folder of folders) {
    for (;;) {
      try {
        await rmdir(folder);
        break;
      } catch (error) {
        const code = error instanceof Error && "code" in error ? error.code : undefined;
        if (code === "ENOENT") break;
        if (performance.now() > deadline) throw error;
        await delay(POLL_MS);
      }
    }
  }
}

async function places(name: string): Promise<Place[]> {
  const lines = (await readFile("/proc/self/cgroup", "utf8").catch(() => "")).trim().split("\n");
  const found: Place[] = [];
  for (const line of lines) {
    const [, names = "", path = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (names === "") {
      const root = (await isThere(`${ROOT}/cgroup.controllers`)) ? ROOT : `${ROOT}/unified`;
      // A group with processes may not also have limited children, unless it is the root: so beside ours, not below.
      const folder = join(root, path === "/" ? "/" : dirname(path), name);
      found.push({ folder, controllers: CONTROLLERS, version: 2 });
      continue;
    }
    const controllers = CONTROLLERS.filter((controller) => names.split(",").includes(controller));
    if (controllers.length > 0) found.push({ folder: join(ROOT, names, path, name), controllers, version: 1 });
  }
  return found;
}

async function setLimit({ folder, version }: Place, controller: Controller, limits: HandLimits): Promise<boolean> {
  const quota = Math.round((limits.cpuMillis / 1000) * PERIOD_US);
  const files: Record<Controller, readonly [string, string][]> =
    version === 1
      ? {
          memory: [
            ["memory.limit_in_bytes", String(limits.memoryBytes)],
            ["?memory.memsw.limit_in_bytes", String(limits.memoryBytes)],
          ],
          pids: [["pids.max", String(limits.pids)]],
          cpu: [
            ["cpu.cfs_period_us", String(PERIOD_US)],
            ["cpu.cfs_quota_us", String(quota)],
          ],
        }
      : {
          memory: [
            ["memory.max", String(limits.memoryBytes)],
            ["?memory.swap.max", "0"],
          ],
          pids: [["pids.max", String(limits.pids)]],
          cpu: [["cpu.max", `${quota} ${PERIOD_US}`]],
        };
  try {
    for (const [file, value] of files[controller]) {
      // Kernels without accounting of swap have no such file, and then no swap to be limited by it.
      if (file.startsWith("?")) await writeFile(join(folder, file.slice(1)), value).catch(() => undefined);
      else await writeFile(join(folder, file), value);
    }
    return true;
  } catch {
    return false;
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
