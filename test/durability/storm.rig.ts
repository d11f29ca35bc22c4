/**
 * kill -9 of session-store (two replicas) and nats-server at random moments while writers append through gRPC: nothing
 * acknowledged is lost, doubled or moved, and the hash chain holds. Eight writers, whose appends are published each on
 * its own; then, in a run of some length, so many that their appends go in groups.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { retry } from "@manyhands/kit";
import { eventually, startNatsServer } from "@manyhands/testkit";
import { startStores, stopStores } from "./support/bed.ts";
import { isWhole } from "./support/check-log.ts";
import { checkEverything, framesInGroups } from "./support/read-back.ts";
import { between, type RigOptions, type RigReport, type RigRow, report, seededRandom } from "./support/rig.ts";
import { type Ledger, makeSessions, startWriters } from "./support/writers.ts";

interface Load {
  readonly name: string;
  readonly writers: number;
  readonly sessions: number;
}

const few: Load = { name: "storm_r1", writers: 8, sessions: 4 };
const many: Load = { name: "storm_groups", writers: 96, sessions: 96 };
/** Of so many kills a quarter more hits groups. */
const longRun = 20;
const progressMs = 90_000;

interface Victim {
  readonly name: string;
  kill9(): Promise<void>;
  revive(): Promise<void>;
  /** Set while it is coming up again. */
  reviving?: Promise<void> | undefined;
}

/** Runs the rig. */
export default function storm(options: RigOptions): Promise<RigReport> {
  const forms = [() => stormUnder(few, options)];
  if (options.runs >= longRun) {
    forms.push(() => stormUnder(many, { ...options, runs: Math.ceil(options.runs / 4) }));
  }
  return report("storm", options, forms);
}

async function stormUnder({ name, writers, sessions }: Load, options: RigOptions): Promise<RigRow> {
  const random = seededRandom(options.seed);
  const nats = await startNatsServer({ syncAlways: true });
  const place = { urls: nats.url, monitorUrl: nats.monitorUrl, replicas: 1 };
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
    const victims: Victim[] = [
      ...stores.map((store, n) => ({ name: `store${n}`, kill9: () => store.kill9(), revive: () => store.start() })),
      { name: "nats", kill9: () => nats.kill9(), revive: () => nats.restart() },
    ];
    const output = () => stores.map((store) => store.output().slice(-4000)).join("\n");
    const kills = new Map<string, number>();
    try {
      for (let run = 0; run < options.runs; run += 1) {
        options.signal.throwIfAborted();
        await progressSince(load.ledger, writers, output);
        await sleep(between(random, 0, 700));
        const victim = victims[between(random, 0, victims.length - 1)];
        if (victim === undefined) throw new Error("nobody to kill");
        await victim.reviving;
        await victim.kill9();
        kills.set(victim.name, (kills.get(victim.name) ?? 0) + 1);
        victim.reviving = sleep(between(random, 0, 400)).then(() =>
          retry(victim.revive, { attempts: 3, initialMs: 200, maxMs: 1000, when: () => true }),
        );
        victim.reviving.catch((error: unknown) =>
          options.progress(`${name}: ${victim.name} does not come up: ${String(error)}`),
        );
        if (run % 10 === 9)
          options.progress(`${name}: ${run + 1} kills, ${load.ledger.acknowledged.length} events acknowledged`);
      }
      await Promise.all(victims.map((victim) => victim.reviving));
      await progressSince(load.ledger, writers, output);
    } finally {
      await load.stop();
    }
    const findings = await checkEverything(nats.url, addresses[0] ?? "", load.ledger);
    const grouped = await framesInGroups(nats.url);
    return {
      name,
      ok: isWhole(findings) && (name !== many.name || grouped > 0),
      frames_in_groups: grouped,
      kills: [...kills].map(([name, count]) => `${name} ${count}`),
      retried: [...load.ledger.retried].map(([reason, count]) => `${reason} ${count}`),
      ...findings,
    };
  } finally {
    await stopStores(stores);
    await nats.stop();
  }
}

/** Waits until a few more appends are acknowledged: a fault upon a dead system proves nothing. */
async function progressSince(ledger: Ledger, writers: number, output: () => string): Promise<void> {
  const before = ledger.ackedAtMs.length;
  try {
    await eventually(() => ledger.ackedAtMs.length > before + writers, { timeoutMs: progressMs, everyMs: 10 });
  } catch (error) {
    const met = JSON.stringify({ wrong: ledger.wrongAnswers, retried: [...ledger.retried] });
    throw new Error(`appends do not go on; writers met ${met}; the services said:\n${output()}`, { cause: error });
  }
}
