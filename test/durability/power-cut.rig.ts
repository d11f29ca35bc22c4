/**
 * The power goes while eight writers append: one server, then all three of a cluster at the same moment. With every
 * write synced nothing acknowledged may be lost. The control, NATS's default of syncing every two minutes, must lose
 * something: otherwise the rig does not cut anything, and the run fails.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "@manyhands/testkit";
import { startStores, stopStores } from "./support/bed.ts";
import { checkLog, isWhole } from "./support/check-log.ts";
import { type Machines, machines } from "./support/machines.ts";
import { checkEverything, readFrames } from "./support/read-back.ts";
import { between, type RigOptions, type RigReport, type RigRow, report, seededRandom } from "./support/rig.ts";
import type { StoreProcess } from "./support/store-process.ts";
import { emptyLedger, type Ledger, makeSessions, startWriters } from "./support/writers.ts";

const writers = 8;
const sessions = 4;
const diskMegabytes = 512;
const progressMs = 60_000;
/** One that loses is enough. */
const controlCuts = 1;

/** Runs the rig. */
export default function powerCut(options: RigOptions): Promise<RigReport> {
  const control = { ...options, runs: controlCuts };
  return report("power-cut", options, [
    () => cutOften("control_default_sync", control, { nodes: 1, synced: false }),
    () => cutOften("power_cut_r1", options, { nodes: 1, synced: true }),
    () => cutOften("power_cut_r3", options, { nodes: 3, synced: true }),
  ]);
}

async function cutOften(
  name: string,
  options: RigOptions,
  form: { readonly nodes: 1 | 3; readonly synced: boolean },
): Promise<RigRow> {
  const random = seededRandom(options.seed);
  const ledger = emptyLedger();
  const servers = await machines({ ...form, megabytes: diskMegabytes });
  try {
    const stores = await startStores(servers.place, 1);
    try {
      for (let run = 0; run < options.runs; run += 1) {
        options.signal.throwIfAborted();
        await cutUnderLoad(run, servers, stores, ledger, random);
        const findings = checkLog(await readFrames(servers.place.urls), ledger);
        options.progress(`${name}: cut ${run + 1}, ${findings.acknowledged} acknowledged, ${findings.lost} lost`);
        if (form.synced && !isWhole(findings)) return { name, ok: false, cuts: run + 1, ...findings };
      }
      const [store] = stores;
      if (!form.synced || store === undefined) {
        const findings = checkLog(await readFrames(servers.place.urls), ledger);
        return { name, ok: findings.lost > 0, cuts: options.runs, must_lose: true, ...findings };
      }
      const findings = await checkEverything(servers.place.urls, store.address, ledger);
      return { name, ok: isWhole(findings), cuts: options.runs, must_lose: false, ...findings };
    } finally {
      await stopStores(stores);
    }
  } finally {
    await servers.remove();
  }
}

/** Loads fresh sessions, cuts the power in mid-write, and brings everything up again. */
async function cutUnderLoad(
  run: number,
  servers: Machines,
  stores: readonly StoreProcess[],
  ledger: Ledger,
  random: () => number,
): Promise<void> {
  const addresses = stores.map((store) => store.address);
  const sessionIds = await makeSessions(addresses[0] ?? "", sessions);
  const before = ledger.ackedAtMs.length;
  const load = startWriters({ addresses, sessionIds, writers, random, ledger, label: `cut${run}w` });
  try {
    await eventually(() => ledger.ackedAtMs.length > before + writers, { timeoutMs: progressMs });
    await sleep(between(random, 50, 1000));
    await servers.cutPower();
  } finally {
    await Promise.all(stores.map((store) => store.kill9()));
    await load.stop();
  }
  await servers.powerOn();
  await Promise.all(stores.map((store) => store.start()));
}
