/**
 * Damage on the disk of the log: bytes flipped in the block files of the only server, one replica's store deleted, bytes
 * flipped in one replica. Each session is then whole, or is parked with an alarm; never a silent gap.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { eventually, startNatsCluster, startNatsServer, tempDir } from "@manyhands/testkit";
import { startStores, stopStores } from "./support/bed.ts";
import { allCurrent, makeLeader } from "./support/cluster-admin.ts";
import { judgeSessions, type Verdict } from "./support/judge.ts";
import { between, type RigOptions, type RigReport, type RigRow, report, seededRandom } from "./support/rig.ts";
import type { StoreProcess } from "./support/store-process.ts";
import { type Ledger, makeSessions, startWriters } from "./support/writers.ts";

const writers = 8;
const sessions = 8;
const events = 800;
const loadMs = 60_000;
const flips = 3;
const noteMs = 1200;

/** Runs the rig. */
export default function bitFlip(options: RigOptions): Promise<RigReport> {
  return report("bit-flip", options, [
    () => flippedR1(options),
    () => damagedReplica("replica_deleted_r3", options, (dir) => rmSync(dir, { recursive: true })),
    () => damagedReplica("bit_flip_r3", options, (dir, random) => flipBytes(dir, random)),
  ]);
}

async function flippedR1(options: RigOptions): Promise<RigRow> {
  const random = seededRandom(options.seed);
  const verdicts: Verdict[] = [];
  for (let run = 0; run < options.runs; run += 1) {
    options.signal.throwIfAborted();
    const verdict = await flipOnce(random, run % 2 === 0 ? "SIGTERM" : "SIGKILL");
    options.progress(`bit-flip: ${JSON.stringify(verdict)}`);
    verdicts.push(verdict);
  }
  return { name: "bit_flip_r1", ...summary(verdicts) };
}

async function flipOnce(random: () => number, end: NodeJS.Signals): Promise<Verdict> {
  await using dir = await tempDir("manyhands-bit-flip-");
  const nats = await startNatsServer({ syncAlways: true, dir: dir.path });
  try {
    const stores = await startStores({ urls: nats.url, monitorUrl: nats.monitorUrl, replicas: 1 }, 1);
    try {
      const address = stores[0]?.address ?? "";
      const ledger = await load(address, random);
      await Promise.all(stores.map((store) => store.kill9()));
      await nats.stop(end); // an orderly end writes its state beside the blocks, a kill leaves only the blocks
      flipBytes(streamFolder(nats.dir), random);
      try {
        await nats.restart();
      } catch (error) {
        return refusedWhole(ledger, "parked", `nats-server does not start: ${String(error).slice(0, 300)}`);
      }
      return await judgeStart(stores[0], ledger);
    } finally {
      await stopStores(stores);
    }
  } finally {
    await nats.stop();
  }
}

/** One replica of three is damaged while it is down, comes back, and then answers alone as the leader. */
async function damagedReplica(
  name: string,
  options: RigOptions,
  damage: (dir: string, random: () => number) => void,
): Promise<RigRow> {
  const random = seededRandom(options.seed);
  const verdicts: Verdict[] = [];
  const nats = await startNatsCluster({ nodes: 3, syncAlways: true });
  try {
    const place = { urls: nats.urls, monitorUrl: nats.nodes[0]?.monitorUrl ?? "", replicas: 3 };
    const stores = await startStores(place, 1);
    try {
      const address = stores[0]?.address ?? "";
      for (let run = 0; run < options.runs; run += 1) {
        options.signal.throwIfAborted();
        const ledger = await load(address, random, `damage${run}w`);
        const victim = nats.nodes[between(random, 0, nats.nodes.length - 1)];
        if (victim === undefined) throw new Error("no node to damage");
        await victim.kill9();
        damage(streamFolder(victim.dir), random);
        try {
          await victim.restart();
        } catch (error) {
          // A server that hangs on its damaged store says so by not coming up; an operator takes the store away.
          options.progress(`${name}: the damaged server does not start: ${String(error).slice(0, 300)}`);
          await victim.kill9();
          rmSync(streamFolder(victim.dir), { recursive: true });
          await victim.restart();
        }
        await allCurrent(nats);
        await makeLeader(nats, victim);
        verdicts.push(await judgeSessions(address, ledger.acknowledged));
        options.progress(`${name}: ${JSON.stringify(verdicts.at(-1))}`);
      }
    } finally {
      await stopStores(stores);
    }
  } finally {
    await nats.stop();
  }
  return { name, ...summary(verdicts) };
}

/** The whole log may be refused: that is an alarm too, for all sessions at once. */
async function judgeStart(store: StoreProcess | undefined, ledger: Ledger): Promise<Verdict> {
  try {
    await store?.start();
  } catch (error) {
    const alarmed = String(error).includes("LOG_DAMAGED");
    const words = `session-store does not start: ${String(error).slice(-300)}`;
    return refusedWhole(ledger, alarmed ? "parked" : "silent", words);
  }
  return judgeSessions(store?.address ?? "", ledger.acknowledged);
}

function refusedWhole(ledger: Ledger, verdict: "parked" | "silent", words: string): Verdict {
  const sessions = new Set(ledger.acknowledged.map((one) => one.sessionId)).size;
  const counts = { whole: 0, parked: 0, silent: 0, [verdict]: sessions };
  return { sessions, ...counts, problems: [`${verdict}: ${words}`] };
}

async function load(address: string, random: () => number, label = "w"): Promise<Ledger> {
  const sessionIds = await makeSessions(address, sessions);
  const running = startWriters({ addresses: [address], sessionIds, writers, random, label });
  try {
    await eventually(() => running.ledger.acknowledged.length >= events, { timeoutMs: loadMs, everyMs: 10 });
  } finally {
    await running.stop();
  }
  // How far the log reaches is noted twice a second: damage to what is younger than that shows nowhere.
  await sleep(noteMs);
  return running.ledger;
}

/** Flips bits of a few bytes anywhere in the block files of the log. */
function flipBytes(dir: string, random: () => number): void {
  const folder = path.join(dir, "msgs");
  const blocks = readdirSync(folder).filter((name) => name.endsWith(".blk"));
  for (let flip = 0; flip < flips; flip += 1) {
    const file = path.join(folder, blocks[between(random, 0, blocks.length - 1)] ?? "");
    const bytes = readFileSync(file);
    const at = between(random, 0, bytes.length - 1);
    bytes[at] = (bytes[at] ?? 0) ^ between(random, 1, 255);
    writeFileSync(file, bytes);
  }
}

/** Where a server keeps the log. */
function streamFolder(dir: string): string {
  return path.join(dir, "jetstream", "jetstream", "$G", "streams", "MH_LOG");
}

function summary(verdicts: readonly Verdict[]) {
  const sum = (pick: (verdict: Verdict) => number) => verdicts.reduce((total, verdict) => total + pick(verdict), 0);
  const silent = sum((verdict) => verdict.silent);
  return {
    ok: silent === 0,
    runs: verdicts.length,
    sessions: sum((verdict) => verdict.sessions),
    whole: sum((verdict) => verdict.whole),
    parked: sum((verdict) => verdict.parked),
    silent,
    problems: verdicts.flatMap((verdict) => verdict.problems).slice(0, 20),
  };
}
