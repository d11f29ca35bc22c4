/**
 * Three servers, three copies: the leader of the log is killed again and again under load. Nothing acknowledged is lost,
 * doubled or moved, and appends go on soon; sooner still when the leader steps down by itself.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { eventually, startNatsCluster } from "@manyhands/testkit";
import { startStores, stopStores } from "./support/bed.ts";
import { isWhole } from "./support/check-log.ts";
import { allCurrent, stepDown } from "./support/cluster-admin.ts";
import { checkEverything } from "./support/read-back.ts";
import {
  between,
  percentile,
  type RigOptions,
  type RigReport,
  type RigRow,
  report,
  seededRandom,
} from "./support/rig.ts";
import { type Ledger, makeSessions, startWriters } from "./support/writers.ts";

const writers = 8;
const sessions = 4;
const progressMs = 60_000;
const killBarMs = 10_000;
const stepDownBarMs = 2000;

/** Runs the rig. */
export default function cluster(options: RigOptions): Promise<RigReport> {
  return report("cluster", options, [() => leaderKilled(options)]);
}

async function leaderKilled(options: RigOptions): Promise<RigRow> {
  const random = seededRandom(options.seed);
  const nats = await startNatsCluster({ nodes: 3, syncAlways: true });
  const place = { urls: nats.urls, monitorUrl: nats.nodes[0]?.monitorUrl ?? "", replicas: 3 };
  const stores = await startStores(place, 2).catch(async (error: unknown) => {
    await nats.stop();
    throw error;
  });
  try {
    const addresses = stores.map((store) => store.address);
    const load = startWriters({
      addresses,
      sessionIds: await makeSessions(addresses[0] ?? "", sessions),
      writers,
      random: seededRandom(options.seed + 1),
    });
    const afterKill: number[] = [];
    const afterStepDown: number[] = [];
    try {
      for (let run = 0; run < options.runs; run += 1) {
        options.signal.throwIfAborted();
        await sleep(between(random, 100, 800));
        afterStepDown.push(await unavailability(load.ledger, () => stepDown(nats)));
        await sleep(between(random, 100, 800));
        const leader = await nats.leaderOf("MH_LOG");
        afterKill.push(await unavailability(load.ledger, () => leader.kill9()));
        await sleep(between(random, 0, 500));
        await leader.restart();
        await allCurrent(nats);
        options.progress(
          `cluster: leader ${leader.name} killed, ${Math.round(afterKill.at(-1) ?? 0)} ms without appends`,
        );
      }
    } finally {
      await load.stop();
    }
    const findings = await checkEverything(nats.urls, addresses[0] ?? "", load.ledger);
    const [kill95, stepDown95] = [percentile(afterKill, 0.95), percentile(afterStepDown, 0.95)];
    return {
      name: "cluster_r3",
      ok: isWhole(findings) && kill95 <= killBarMs && stepDown95 <= stepDownBarMs,
      leaders_killed: afterKill.length,
      unavailable_after_kill_p50_ms: percentile(afterKill, 0.5),
      unavailable_after_kill_p95_ms: kill95,
      unavailable_after_step_down_p50_ms: percentile(afterStepDown, 0.5),
      unavailable_after_step_down_p95_ms: stepDown95,
      retried: [...load.ledger.retried].map(([reason, count]) => `${reason} ${count}`),
      ...findings,
    };
  } finally {
    await stopStores(stores);
    await nats.stop();
  }
}

const watchMs = 1000;

/**
 * The longest time in which no append at all was acknowledged, of those that began within a second of the fault: what
 * all writers together see, in milliseconds.
 */
async function unavailability(ledger: Ledger, fault: () => Promise<void>): Promise<number> {
  const faultMs = performance.now();
  await fault();
  await eventually(() => (ledger.ackedAtMs.at(-1) ?? 0) > faultMs + watchMs, { timeoutMs: progressMs, everyMs: 5 });
  const times = [faultMs, ...ledger.ackedAtMs.filter((at) => at > faultMs)];
  const gaps = times.slice(1).map((at, before) => ({ from: times[before] ?? at, ms: at - (times[before] ?? at) }));
  return Math.max(...gaps.filter((gap) => gap.from <= faultMs + watchMs).map((gap) => gap.ms));
}
