/** Appends: one event in process and through gRPC, a frame of ten, and how much many sessions store together. */
import { create } from "@bufbuild/protobuf";
import { createRpcClient } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import { CreateSessionRequestSchema, EmitEventsRequestSchema, SessionService } from "@manyhands/protocol";
import { freePort } from "@manyhands/testkit";
import { storeProcess } from "../../services/session-store/src/testing/process.ts";
import { startBareGrpc } from "./support/bare-grpc.ts";
import { agentMessage, newSessionRequest } from "./support/events.ts";
import { type Rig, startRig } from "./support/rig.ts";
import { type Row, rateRow, timed, timeRow } from "./support/rows.ts";

const leastRounds = 5;
const perRound = 150;
const warmUp = 100;
/** Makes a stored frame of one event about 1 KiB, like the floor's message. */
const textBytes = 900;
const sessions = 64;
const frameSize = 10;
const throughputMs = 1500;

/** Runs the benchmark. What many sessions store is measured on a server of its own: it leaves a large log behind. */
export default async function log({ rounds: asked }: { rounds: number }): Promise<BenchReport> {
  const rounds = Math.max(leastRounds, asked);
  const [append, frame10, appendGrpc] = await withRig(async (rig) => {
    const inProcess = await appends(rig, rounds);
    await rig.running.stop("in-process rows are done");
    return [...inProcess, await throughGrpc(rig, rounds)] as const;
  });
  return { bench: "log", rounds, rows: [append, appendGrpc, frame10, await withRig((rig) => throughput(rig, rounds))] };
}

async function withRig<T>(work: (rig: Rig) => Promise<T>): Promise<T> {
  const rig = await startRig();
  try {
    return await work(rig);
  } finally {
    await rig.stop();
  }
}

async function appends({ direct, floor }: Rig, rounds: number): Promise<readonly [Row, Row]> {
  const [one, ten, raw]: number[][] = [[], [], []];
  for (let round = 0; round < rounds; round += 1) {
    const sessionId = await direct.newSession();
    for (let i = 0; i < perRound + warmUp; i += 1) {
      const [single, frame] = [eventsOf(1), eventsOf(frameSize)];
      const least = await floor.publish();
      const tookOne = await timed(() => direct.emit(sessionId, single));
      const took = [least, tookOne, await timed(() => direct.emit(sessionId, frame))] as const;
      if (i < warmUp) continue;
      raw?.push(took[0]);
      one?.push(took[1]);
      ten?.push(took[2]);
    }
  }
  return [
    timeRow("append", one ?? [], raw ?? [], "handler in process, 1 event; floor: raw publish of 1 KiB"),
    timeRow("frame10", ten ?? [], one ?? [], "in process, 10 events of 1 KiB; floor: our frame of 1"),
  ];
}

async function throughGrpc(rig: Rig, rounds: number): Promise<Row> {
  const store = await storeProcess(rig.nats, await freePort());
  const bare = await startBareGrpc();
  await store.start();
  const client = createRpcClient(SessionService, { address: store.address(), defaultDeadlineMs: 10_000 });
  const ours: number[] = [];
  const floor: number[] = [];
  try {
    for (let round = 0; round < rounds; round += 1) {
      const { session } = await client.createSession(create(CreateSessionRequestSchema, newSessionRequest()));
      for (let i = 0; i < perRound + warmUp; i += 1) {
        const request = create(EmitEventsRequestSchema, { sessionId: session?.id ?? "", events: eventsOf(1) });
        const least = (await bare.call()) + (await rig.floor.publish());
        const took = await timed(() => client.emitEvents(request));
        if (i < warmUp) continue;
        floor.push(least);
        ours.push(took);
      }
    }
  } finally {
    client.close();
    await bare.stop();
    await store.end("SIGTERM");
  }
  return timeRow("append_grpc", ours, floor, "session-store as a process; floor: bare gRPC unary + raw publish");
}

/** Events per second of 64 sessions that each wait for their acknowledgement, against 64 raw publishers. */
async function throughput(rig: Rig, rounds: number): Promise<Row> {
  const ids = await Promise.all(Array.from({ length: sessions }, () => rig.direct.newSession()));
  const ours: number[] = [];
  const raw: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    raw.push(await perSecond(ids, () => rig.floor.publish(), 1));
    ours.push(await perSecond(ids, (id) => rig.direct.emit(id, eventsOf(frameSize)), frameSize));
  }
  const note = `${sessions} sessions, frames of ${frameSize} x 1 KiB, in process; floor: raw publishes of 1 event each`;
  return rateRow("durable_throughput", "events/s", ours, raw, note);
}

async function perSecond(ids: readonly string[], work: (id: string) => Promise<unknown>, each: number) {
  const start = performance.now();
  const until = start + throughputMs;
  let done = 0;
  const worker = async (id: string) => {
    while (performance.now() < until) {
      await work(id);
      done += each;
    }
  };
  await Promise.all(ids.map(worker));
  return (done * 1000) / (performance.now() - start);
}

function eventsOf(count: number) {
  return Array.from({ length: count }, () => agentMessage(textBytes));
}
