/** From the start of an append to its arrival at one subscriber, and at the last of a hundred. */
import { createRpcClient, type RpcClient } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import { SessionService } from "@manyhands/protocol";
import { agentMessage } from "./support/events.ts";
import { type Rig, startRig } from "./support/rig.ts";
import { timeRow } from "./support/rows.ts";

const leastRounds = 5;
const perRound = 60;
const warmUp = 20;
const many = 100;
const textBytes = 900;
const arrivalMs = 10_000;

type Watch = (sessionId: string, signal: AbortSignal) => AsyncIterable<number | undefined>;

/** Runs the benchmark. */
export default async function tail({ rounds: asked }: { rounds: number }): Promise<BenchReport> {
  const rounds = Math.max(leastRounds, asked);
  const rig = await startRig();
  const address = rig.running.addresses.grpc ?? "";
  const client = createRpcClient(SessionService, { address, defaultDeadlineMs: 10_000 });
  const direct: Watch = (sessionId, signal) => rig.direct.watch(sessionId, 0, signal);
  const grpc: Watch = (sessionId, signal) => watchByGrpc(client, sessionId, signal);
  try {
    const note = "append begins → subscriber has the event, in process; floor: raw acknowledged publish";
    const wire = "the same through gRPC streams, server and clients in one process; no bar";
    const rows = [
      await measure(rig, direct, { name: "tail", note, rounds, subscribers: 1 }),
      await measure(rig, direct, { name: "tail_100", note: `last of 100; ${note}`, rounds, subscribers: many }),
      await measure(rig, grpc, { name: "tail_grpc", note: wire, rounds, subscribers: 1 }),
      await measure(rig, grpc, { name: "tail_100_grpc", note: `last of 100; ${wire}`, rounds, subscribers: many }),
    ];
    return { bench: "tail", rounds, rows };
  } finally {
    client.close();
    await rig.stop();
  }
}

async function* watchByGrpc(client: RpcClient<typeof SessionService>, sessionId: string, signal: AbortSignal) {
  const request = { sessionId, includePlatform: true, start: { case: "fromPosition", value: 0n } } as const;
  for await (const { item } of client.watchEvents(request, { signal, deadlineMs: Number.POSITIVE_INFINITY })) {
    if (item.case === "event") yield Number(item.value.position);
    if (item.case === "caughtUp") yield undefined;
  }
}

interface Plan {
  readonly name: string;
  readonly note: string;
  readonly rounds: number;
  readonly subscribers: number;
}

async function measure(rig: Rig, watch: Watch, plan: Plan) {
  const ours: number[] = [];
  const floor: number[] = [];
  for (let round = 0; round < plan.rounds; round += 1) {
    const sessionId = await rig.direct.newSession();
    const audience = await gather(plan.subscribers, (signal) => watch(sessionId, signal));
    for (let position = 1; position <= perRound + warmUp; position += 1) {
      const raw = await rig.floor.publish();
      const start = performance.now();
      const arrived = audience.all(position);
      await rig.direct.emit(sessionId, [agentMessage(textBytes)]);
      const took = (await arrived) - start;
      if (position <= warmUp) continue;
      floor.push(raw);
      ours.push(took);
    }
    await audience.leave();
  }
  return timeRow(plan.name, ours, floor, plan.note);
}

/** Starts subscribers and waits until all have caught up. `all` resolves when the last one has a position. */
async function gather(count: number, watch: (signal: AbortSignal) => AsyncIterable<number | undefined>) {
  const leave = new AbortController();
  let waiting = { position: Number.NaN, missing: 0, resolve: (_at: number) => {} };
  let behind = count;
  const present = Promise.withResolvers<void>();
  const subscriber = async () => {
    for await (const position of watch(leave.signal)) {
      if (position === undefined && --behind === 0) present.resolve();
      if (position !== waiting.position) continue;
      waiting.missing -= 1;
      if (waiting.missing === 0) waiting.resolve(performance.now());
    }
  };
  const gone = Promise.allSettled(Array.from({ length: count }, subscriber));
  await within(present.promise, "the subscribers did not catch up");
  return {
    all(position: number): Promise<number> {
      const last = new Promise<number>((resolve) => {
        waiting = { position, missing: count, resolve };
      });
      return within(last, `position ${position} did not reach every subscriber`);
    },
    async leave() {
      leave.abort();
      await gone;
    },
  };
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} within ${arrivalMs} ms`)), arrivalMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
