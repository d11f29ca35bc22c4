/**
 * kill -9 of session-store (two replicas) and nats-server at random moments while eight writers append through gRPC:
 * nothing acknowledged is lost, doubled or moved, and the hash chain holds.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { retry } from "@manyhands/kit";
import { eventually, startNatsServer } from "@manyhands/testkit";
import { startStores, stopStores } from "./support/bed.ts";
import { isWhole } from "./support/check-log.ts";
import { checkEverything } from "./support/read-back.ts";
import { between, type RigOptions, type RigReport, type RigRow, report, seededRandom } from "./support/rig.ts";
import { type Ledger, makeSessions, startWriters } from "./support/writers.ts";

const writers = 8;
const sessions = 4;
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
  return report("storm", options, [() => stormR1(options)]);
}

async function stormR1(options: RigOptions): Promise<RigRow> {
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
        await progressSince(load.ledger, load.ledger.ackedAtMs.length, output);
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
          options.progress(`storm: ${victim.name} does not come up: ${String(error)}`),
        );
        if (run % 10 === 9)
          options.progress(`storm: ${run + 1} kills, ${load.ledger.acknowledged.length} events acknowledged`);
      }
      await Promise.all(victims.map((victim) => victim.reviving));
      await progressSince(load.ledger, load.ledger.ackedAtMs.length, output);
    } finally {
      await load.stop();
    }
    const findings = await checkEverything(nats.url, addresses[0] ?? "", load.ledger);
    return {
      name: "storm_r1",
      ok: isWhole(findings),
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
async function progressSince(ledger: Ledger, before: number, output: () => string): Promise<void> {
  try {
    await eventually(() => ledger.ackedAtMs.length > before + writers, { timeoutMs: progressMs, everyMs: 10 });
  } catch (error) {
    const met = JSON.stringify({ wrong: ledger.wrongAnswers, retried: [...ledger.retried] });
    throw new Error(`appends do not go on; writers met ${met}; the services said:\n${output()}`, { cause: error });
  }
}
