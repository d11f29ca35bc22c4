/** The first tool call of a session, cold and from the warm pool, and what a hand weighs while nothing happens in it. */
import { readdirSync, readFileSync } from "node:fs";
import type { BenchReport } from "@manyhands/local";
import { eventually } from "@manyhands/testkit";
import type Docker from "dockerode";
import type { ManagerProcess } from "../../services/sandbox-manager/src/testing/manager-process.ts";
import { callTrue, type HandsRig, newHand, startHandsRig } from "./support/hands-rig.ts";
import { type Row, timed, timeRow } from "./support/rows.ts";
import { median } from "./support/statistics.ts";

const leastRounds = 5;
const perRound = 3;
const warmMs = 30_000;
const mebibyte = 1024 * 1024;
const weighed = 3;

/** Runs the benchmark. */
export default async function provision({ rounds: asked }: { rounds: number }): Promise<BenchReport> {
  const rounds = Math.max(leastRounds, asked);
  const rig = await startHandsRig();
  try {
    const cold = await rig.manager();
    const pooled = await rig.manager({ MH_HAND_POOL_SIZE: "1" });
    const samples = { raw: [] as number[], cold: [] as number[], pool: [] as number[] };
    await firstCall(cold);
    await firstCall(pooled);
    await rawOnce(rig);
    for (let round = 0; round < rounds * perRound; round += 1) {
      await isWarm(pooled); // and so no warm hand is in the making while the others are measured
      samples.raw.push(await rawOnce(rig));
      samples.cold.push(await firstCall(cold));
      samples.pool.push(await firstCall(pooled));
    }
    const floor = "floor: create + start of a plain container of the same image";
    const rows = [
      timeRow("cold_call", samples.cold, samples.raw, `Provision + Execute of \`true\` over gRPC; ${floor}`),
      timeRow("pool_call", samples.pool, samples.raw, `the same with one warm hand ready; ${floor}`),
      await idleMemory(rig, cold),
    ];
    return { bench: "provision", rounds, rows };
  } finally {
    await rig.stop();
  }
}

/** A session's first tool call, from nothing to its result; the hand is given back outside of the time. */
async function firstCall({ client }: ManagerProcess): Promise<number> {
  let sessionId = "";
  const ms = await timed(async () => {
    const hand = await newHand(client);
    sessionId = hand.sessionId;
    await callTrue(client, hand.handId);
  });
  await client.release({ sessionId, reason: "session_end" });
  return ms;
}

async function rawOnce(rig: HandsRig): Promise<number> {
  let container: Docker.Container | undefined;
  const ms = await timed(async () => {
    container = await rig.rawContainer();
  });
  await container?.remove({ force: true });
  return ms;
}

async function isWarm({ client }: ManagerProcess): Promise<void> {
  await eventually(async () => (await client.describeDrivers({})).warmHands > 0, { timeoutMs: warmMs });
}

/** Memory of a hand that has run a command and is idle, beside a plain container: its cgroup and its shim. */
async function idleMemory(rig: HandsRig, { client }: ManagerProcess): Promise<Row> {
  const ours: number[] = [];
  const floor: number[] = [];
  for (let count = 0; count < weighed; count += 1) {
    const raw = await rig.rawContainer();
    const { sessionId, handId } = await newHand(client);
    await callTrue(client, handId);
    floor.push(await weight(raw));
    ours.push(await weight(rig.docker.getContainer(`manyhands-${handId}`)));
    await client.release({ sessionId });
    await raw.remove({ force: true });
  }
  const [mine, theirs] = [median(ours), median(floor)];
  const note = `${(mine - theirs).toFixed(2)} MiB over a plain sleeping container; cgroup without page cache + shim (PSS)`;
  return { name: "idle_memory", unit: "MiB", ours: mine, floor: theirs, ratio: mine / theirs, note };
}

/** MiB of a container: what its cgroup is charged for less reclaimable cache, and its share of the shim. */
async function weight(container: Docker.Container): Promise<number> {
  const { memory_stats: memory } = await container.stats({ stream: false });
  const { usage, stats } = memory;
  const cache = Number(stats.inactive_file ?? 0) + Number(stats.active_file ?? 0);
  const { Id: id, State: state } = await container.inspect();
  return (usage - cache + pssBytes(shimOf(id, state.Pid))) / mebibyte;
}

/** The shim is the parent of the container's first process; where it is not this container's own, its share counts as 0. */
function shimOf(id: string, pid: number): number | undefined {
  const parent = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  if (!readdirSync("/proc").includes(String(parent))) return undefined;
  return readFileSync(`/proc/${parent}/cmdline`, "utf8").includes(id) ? parent : undefined;
}

function pssBytes(pid: number | undefined): number {
  if (pid === undefined) return 0;
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
}
