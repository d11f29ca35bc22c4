/** The smaller forms of the rigs. The long ones: `npm run durability`. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import bitFlip from "./bit-flip.rig.ts";
import cluster from "./cluster.rig.ts";
import diskFull from "./disk-full.rig.ts";
import powerCut from "./power-cut.rig.ts";
import storm from "./storm.rig.ts";
import { loopImage } from "./support/loop-image.ts";
import type { RigOptions, RigReport } from "./support/rig.ts";
import vault from "./vault.rig.ts";

const seed = 20_261_120;
// Each server and each mount is ended with this process, whatever ends it.
process.setMaxListeners(64);

function run(rig: (options: RigOptions) => Promise<RigReport>, runs: number): Promise<RigReport> {
  return rig({ runs, seed, signal: new AbortController().signal, progress: () => undefined });
}

describe("the log", () => {
  it("survives kill -9 of session-store and nats-server at random moments", async () => {
    const { ok, rows } = await run(storm, 6);
    expect(rows).toMatchObject([{ name: "storm_r1", lost: 0, duplicated: 0, gaps: 0, broken_links: 0, problems: [] }]);
    expect(rows[0]?.acknowledged).toBeGreaterThan(100);
    expect(ok).toBe(true);
  });

  it("survives its leader's death in a cluster of three", async () => {
    const { ok, rows } = await run(cluster, 2);
    expect(rows).toMatchObject([{ name: "cluster_r3", leaders_killed: 2, lost: 0, problems: [] }]);
    expect(ok, JSON.stringify(rows)).toBe(true);
  });
});

// Mostly waiting, and with no bars of time but generous ones: together they take as long as the longest.
describe.concurrent("the log on a disk that fails", () => {
  it("survives power cuts when writes are synced, and does not when they are not", async () => {
    const { ok, rows } = await run(powerCut, 2);
    expect(rows).toMatchObject([
      { name: "control_default_sync", must_lose: true },
      { name: "power_cut_r1", cuts: 2, lost: 0, problems: [] },
      { name: "power_cut_r3", cuts: 2, lost: 0, problems: [] },
    ]);
    expect(rows[0]?.lost).toBeGreaterThan(0);
    expect(ok).toBe(true);
  });

  it("refuses in time on a full disk, and goes on when there is room", async () => {
    const { ok, rows } = await run(diskFull, 1);
    expect(rows).toMatchObject([{ name: "disk_full", refused_late: 0, refused_otherwise: 0, lost: 0, problems: [] }]);
    expect(ok).toBe(true);
  });

  it("is whole or parked, never silently short, after damage on the disk", async () => {
    const { ok, rows } = await run(bitFlip, 1);
    expect(rows).toMatchObject([
      { name: "bit_flip_r1", silent: 0 },
      { name: "replica_deleted_r3", silent: 0, parked: 0 },
      { name: "bit_flip_r3", silent: 0 },
    ]);
    expect(ok).toBe(true);
  });
});

describe("a rig", () => {
  it("leaves no mount and no image behind, also when it is stopped in mid-run", async () => {
    const stop = new AbortController();
    const stopped = powerCut({
      runs: 5,
      seed,
      signal: stop.signal,
      progress: () => stop.abort(new Error("stopped by the test")),
    });
    await expect(stopped).rejects.toThrow("stopped by the test");
    const mine = `manyhands-loop-${process.pid}-`;
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(mine);
    expect(readdirSync("/dev/shm").filter((name) => name.startsWith(mine))).toEqual([]);
    const image = await loopImage(16);
    expect(readFileSync("/proc/mounts", "utf8")).toContain(image.dir);
    await image.remove();
    await image.remove();
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(mine);
  });
});

describe("the vault", () => {
  it("loses no credential, burns no token unnoticed and calls nothing twice when it is killed in the middle of it", async () => {
    const { ok, rows } = await run(vault, 6);
    const clean = { kills: 3, twice: 0, untrue: 0, burnt_unnoticed: 0, unreadable: 0, problems: [] };
    expect(rows).toMatchObject([
      { name: "kill_9_leeway", ...clean, needs_reauth: 0 },
      { name: "kill_9_strict", ...clean },
    ]);
    expect(ok, JSON.stringify(rows)).toBe(true);
  });
});
