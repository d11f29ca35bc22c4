/**
 * The disk of the log fills up under load: appends answer UNAVAILABLE within their deadline, nothing acknowledged is
 * lost, and appends go on once there is room again.
 */
import { rmSync, statfsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { AppError } from "@manyhands/kit";
import { eventually, startNatsServer } from "@manyhands/testkit";
import { runProcess } from "../support/run-process.ts";
import { startStores, stopStores } from "./support/bed.ts";
import { isWhole } from "./support/check-log.ts";
import { loopImage } from "./support/loop-image.ts";
import { checkEverything } from "./support/read-back.ts";
import { type RigOptions, type RigReport, type RigRow, report, seededRandom } from "./support/rig.ts";
import { connectSessions, emptyLedger, makeSessions, type Sessions, startWriters } from "./support/writers.ts";

const megabytes = 96;
const roomBytes = 3 * 1024 * 1024;
const writers = 8;
const paddingBytes = 4000;
const fillMs = 60_000;
const deadlineMs = 2000;
const graceMs = 500;
const backMs = 5000;
const probes = 3;

/** Runs the rig. */
export default function diskFull(options: RigOptions): Promise<RigReport> {
  return report("disk-full", options, [() => fillAndFree(options)]);
}

async function fillAndFree(options: RigOptions): Promise<RigRow> {
  const disk = await loopImage(megabytes);
  try {
    const dir = path.join(disk.dir, "nats");
    await mkdir(dir);
    const nats = await startNatsServer({ dir, syncAlways: true });
    const ballast = path.join(disk.dir, "ballast");
    const stores = await startStores({ urls: nats.url, monitorUrl: nats.monitorUrl, replicas: 1 }, 1).catch(
      async (error: unknown) => {
        await nats.stop();
        throw error;
      },
    );
    try {
      const address = stores[0]?.address ?? "";
      const ledger = emptyLedger();
      const answers: Answer[] = [];
      let restarts = 0;
      for (let run = 0; run < options.runs; run += 1) {
        options.signal.throwIfAborted();
        const sessionIds = await makeSessions(address, writers);
        await fill(disk.dir, ballast);
        const load = startWriters({
          addresses: [address],
          sessionIds,
          writers,
          random: seededRandom(options.seed + run),
          label: `full${run}w`,
          ledger,
          padding: paddingBytes,
        });
        try {
          await quiet(ledger.ackedAtMs);
          answers.push(...(await probe(address, sessionIds[0] ?? "", ledger.sent, `probe${run}`)));
          rmSync(ballast, { force: true });
          restarts += await back(ledger.ackedAtMs, () => nats.restart());
        } finally {
          await load.stop();
        }
        options.progress(`disk-full: full and back ${run + 1}, ${ledger.acknowledged.length} events acknowledged`);
      }
      const findings = await checkEverything(nats.url, address, ledger);
      const late = answers.filter((answer) => answer.ms > deadlineMs + graceMs).length;
      const wrong = answers.filter((answer) => answer.kind !== "unavailable").length;
      return {
        name: "disk_full",
        ok: isWhole(findings) && late === 0 && wrong === 0,
        times_full: options.runs,
        refused: answers.length,
        refusals: [...new Set(answers.map((answer) => answer.reason))],
        refused_late: late,
        refused_otherwise: wrong,
        slowest_refusal_ms: Math.round(Math.max(...answers.map((answer) => answer.ms))),
        nats_restarts_needed: restarts,
        ...findings,
      };
    } finally {
      await stopStores(stores);
      await nats.stop("SIGKILL");
    }
  } finally {
    await disk.remove();
  }
}

/** Leaves only a little room. */
async function fill(dir: string, ballast: string): Promise<void> {
  const { bavail, bsize } = statfsSync(dir);
  const bytes = bavail * bsize - roomBytes;
  if (bytes <= 0) return;
  const { code, stderr } = await runProcess("fallocate", ["-l", String(bytes), ballast], { timeoutMs: 30_000 });
  if (code !== 0) throw new Error(`the disk cannot be filled: ${stderr}`);
}

/** Waits until nothing was acknowledged for a while: the room is used up. */
async function quiet(ackedAtMs: readonly number[]): Promise<void> {
  const full = () => ackedAtMs.length > 0 && performance.now() - (ackedAtMs.at(-1) ?? 0) > 1500;
  await eventually(full, { timeoutMs: fillMs, everyMs: 50 });
}

interface Answer {
  readonly kind: string;
  readonly reason: string;
  readonly ms: number;
}

/** What a client is answered while the disk is full. */
async function probe(address: string, sessionId: string, sent: Set<string>, label: string): Promise<Answer[]> {
  const client = connectSessions(address);
  const answers: Answer[] = [];
  try {
    for (let number = 0; number < probes; number += 1) {
      const text = `${label}-${number}`;
      sent.add(text);
      answers.push(await emitOnce(client, sessionId, text));
    }
  } finally {
    client.close();
  }
  return answers;
}

async function emitOnce(client: Sessions, sessionId: string, text: string): Promise<Answer> {
  const startedMs = performance.now();
  const padding = { kind: { case: "text", value: { text: "x".repeat(paddingBytes * 4) } } } as const;
  const content = [{ kind: { case: "text", value: { text } } } as const, padding];
  try {
    await client.emitEvents(
      { sessionId, events: [{ type: "agent.message", payload: { case: "agentMessage", value: { content } } }] },
      { deadlineMs },
    );
    return { kind: "stored", reason: "stored", ms: performance.now() - startedMs };
  } catch (error) {
    const { kind, reason } = error instanceof AppError ? error : { kind: "unknown", reason: String(error) };
    return { kind, reason, ms: performance.now() - startedMs };
  }
}

/** Waits for appends to go on; a server that gave up its storage is restarted as an operator would. Answers how often. */
async function back(ackedAtMs: readonly number[], restart: () => Promise<void>): Promise<number> {
  const before = ackedAtMs.length;
  const again = () => ackedAtMs.length > before + writers;
  try {
    await eventually(again, { timeoutMs: backMs, everyMs: 20 });
    return 0;
  } catch {
    await restart();
    await eventually(again, { timeoutMs: backMs * 2, everyMs: 20 });
    return 1;
  }
}
