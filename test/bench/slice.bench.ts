/**
 * Slices of 100 events at random places of a session of 100 000 events that lies among 1 000 000 events of others,
 * against one raw direct get of the same stream, and against the same slice of a session that is alone.
 */
import { create } from "@bufbuild/protobuf";
import { type Bus, subjects } from "@manyhands/bus";
import { createRpcClient, newId } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import { GetEventsRequestSchema, SessionService } from "@manyhands/protocol";
import { startBareGrpc } from "./support/bare-grpc.ts";
import { eventsIn, sliceRequest } from "./support/direct-store.ts";
import { buildFrames, type LoadedFrame, storeFrames } from "./support/load-log.ts";
import { type Rig, startRig } from "./support/rig.ts";
import { timed, timeRow } from "./support/rows.ts";

const leastRounds = 5;
const perRound = 200;
const warmUp = 200;
const sliceEvents = 100;
const longEvents = 100_000;
const shortEvents = 100;
const foreignSessions = 100;
const foreignEvents = 10_000;
const textBytes = 200;
/** A turn's frames: the client's event, a response of several, single facts. */
const frameSizes = [1, 3, 1, 2, 4, 1];

/** Runs the benchmark. */
export default async function slice({ rounds: asked }: { rounds: number }): Promise<BenchReport> {
  const rounds = Math.max(leastRounds, asked);
  const [longId, shortId] = [newId("sesn"), newId("sesn")];
  const frames = buildFrames(longEvents, frameSizes, textBytes);
  const crowded = await startRig((bus) => loadCrowd(bus, longId, frames));
  const alone = await startRig((bus) => storeFrames(bus, shortId, buildFrames(shortEvents, frameSizes, textBytes)));
  try {
    const rows = await measure({ crowded, alone, longId, shortId, frames: frames.length }, rounds);
    return { bench: "slice", rounds, rows };
  } finally {
    await alone.stop();
    await crowded.stop();
  }
}

/** The long session's frames lie scattered: a part of it, then others' frames, and so on. */
async function loadCrowd(bus: Bus, longId: string, frames: readonly LoadedFrame[]): Promise<void> {
  const foreign = buildFrames(foreignEvents, [64], textBytes);
  const part = Math.ceil(frames.length / foreignSessions);
  for (let n = 0; n < foreignSessions; n += 1) {
    await storeFrames(bus, newId("sesn"), foreign);
    await storeFrames(bus, longId, frames.slice(n * part, (n + 1) * part), n * part);
  }
}

interface Bed {
  readonly crowded: Rig;
  readonly alone: Rig;
  readonly longId: string;
  readonly shortId: string;
  /** Frames of the long session. */
  readonly frames: number;
}

async function measure({ crowded, alone, longId, shortId, frames }: Bed, rounds: number) {
  const times = {
    far: [] as number[],
    near: [] as number[],
    raw: [] as number[],
    rpc: [] as number[],
    least: [] as number[],
  };
  const address = crowded.running.addresses.grpc ?? "";
  const client = createRpcClient(SessionService, { address, defaultDeadlineMs: 10_000 });
  const bare = await startBareGrpc();
  const whole = (events: number) => {
    if (events !== sliceEvents) throw new Error(`a slice of ${events} events instead of ${sliceEvents}`);
  };
  /** Milliseconds until the bytes of the answer are there; that they are the whole slice is looked at afterwards. */
  const sliced = async (read: () => Promise<Uint8Array>) => {
    let bytes: Uint8Array | undefined;
    const took = await timed(async () => {
      bytes = await read();
    });
    whole(eventsIn(bytes ?? new Uint8Array()));
    return took;
  };
  try {
    for (let i = 0; i < rounds * perRound + warmUp; i += 1) {
      const from = Math.floor(Math.random() * (longEvents - sliceEvents));
      const subject = subjects.log(longId, Math.floor(Math.random() * frames));
      const raw = await crowded.floor.directGet("MH_LOG", subject);
      const far = await sliced(() => crowded.direct.slice(longId, from, from + sliceEvents));
      const near = await sliced(() => alone.direct.slice(shortId, 0, sliceEvents));
      const least = (await bare.call()) + (await crowded.floor.directGet("MH_LOG", subject));
      const elsewhere = Math.floor(Math.random() * (longEvents - sliceEvents));
      const request = create(GetEventsRequestSchema, sliceRequest(longId, elsewhere, elsewhere + sliceEvents));
      const rpc = await timed(async () => whole((await client.getEvents(request)).events.length));
      if (i < warmUp) continue;
      times.raw.push(raw);
      times.far.push(far);
      times.near.push(near);
      times.least.push(least);
      times.rpc.push(rpc);
    }
  } finally {
    client.close();
    await bare.stop();
  }
  const where = "100 events anywhere in 100 000 among 1 000 000 foreign ones";
  return [
    timeRow("slice", times.far, times.raw, `${where}, in process; floor: one raw direct get`),
    timeRow("slice_slope", times.far, times.near, `${where}; floor: the same of a session of 100 events, alone`),
    timeRow("slice_grpc", times.rpc, times.least, `${where}; floor: bare gRPC unary + one raw direct get; no bar`),
  ];
}
