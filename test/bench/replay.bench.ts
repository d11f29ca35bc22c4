/** Reading a session of 100 000 events from its beginning, against raw batch direct get of the same messages. */
import { subjects } from "@manyhands/bus";
import { newId } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import { buildFrames, storeFrames } from "./support/load-log.ts";
import { type Rig, startRig } from "./support/rig.ts";
import { type Row, rateRow, timed } from "./support/rows.ts";

const leastRounds = 5;
const warmUp = 1;
const events = 100_000;
const textBytes = 200;

/** One event per frame is the common case of a log; larger frames make the raw read cheaper per event. */
const shapes = [
  { name: "replay", sizes: [1], note: "frames of 1 event" },
  { name: "replay_frames", sizes: [1, 3, 1, 2, 4, 1], note: "frames of a turn (2 events on average), no bar" },
];

/** Runs the benchmark. */
export default async function replay({ rounds: asked }: { rounds: number }): Promise<BenchReport> {
  const rounds = Math.max(leastRounds, asked);
  const ids = shapes.map(() => newId("sesn"));
  const rig = await startRig(async (bus) => {
    for (const [at, { sizes }] of shapes.entries()) {
      await storeFrames(bus, ids[at] ?? "", buildFrames(events, sizes, textBytes));
    }
  });
  try {
    const rows: Row[] = [];
    for (const [at, shape] of shapes.entries()) rows.push(await measure(rig, ids[at] ?? "", shape, rounds));
    return { bench: "replay", rounds, rows };
  } finally {
    await rig.stop();
  }
}

async function measure(rig: Rig, sessionId: string, shape: (typeof shapes)[number], rounds: number): Promise<Row> {
  const ours: number[] = [];
  const floor: number[] = [];
  for (let round = 0; round < rounds + warmUp; round += 1) {
    const raw = await rig.floor.batchGet("MH_LOG", subjects.logOf(sessionId));
    if (raw.messages < events / 10) throw new Error(`the raw read saw ${raw.messages} messages`);
    const tookMs = await timed(() => readAll(rig, sessionId));
    if (round < warmUp) continue;
    floor.push((events * 1000) / raw.ms);
    ours.push((events * 1000) / tookMs);
  }
  const note = `${shape.note}, watched from position 0 to "caught up" in process; floor: raw batch direct get (10 000)`;
  return rateRow(shape.name, "events/s", ours, floor, note);
}

async function readAll(rig: Rig, sessionId: string): Promise<void> {
  const done = new AbortController();
  let next = 0;
  for await (const position of rig.direct.watch(sessionId, 0, done.signal)) {
    if (position === undefined) break;
    if (position !== next) throw new Error(`position ${position} instead of ${next}`);
    next += 1;
  }
  done.abort();
  if (next !== events) throw new Error(`${next} events instead of ${events}`);
}
