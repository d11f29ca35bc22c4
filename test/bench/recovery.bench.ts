/**
 * From kill -9 to the first acknowledged append, with 200 000 events in the log: session-store killed and started again
 * against a bare gRPC server killed and started again, and nats-server killed and started again as seen through
 * session-store, which stays up, against a plain client of the same server. Then what the length of a session costs who
 * wakes or forks it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { createRpcClient, newId, type RpcClient } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import { CreateSessionRequestSchema, EmitEventsRequestSchema, SessionService } from "@manyhands/protocol";
import { freePort, type NatsServer, startNatsServer, tempDir } from "@manyhands/testkit";
import { type StoreProcess, storeProcess } from "../../services/session-store/src/testing/process.ts";
import { startBareGrpc } from "./support/bare-grpc.ts";
import { agentMessage, newSessionRequest } from "./support/events.ts";
import { connectFloor, type Floor } from "./support/floor.ts";
import { buildFrames, storeFrames } from "./support/load-log.ts";
import { longSessionRows } from "./support/long-session.ts";
import { loadLog } from "./support/rig.ts";
import { timed, timeRow } from "./support/rows.ts";

const leastRounds = 5;
const sessions = 20;
const eventsEach = 10_000;
const textBytes = 200;
const frameSizes = [1, 3, 1, 2, 4, 1];
const recoveryMs = 30_000;
const retryMs = 5;
/** What a plain client sends while its connection is away is lost; it must not wait long to find out. */
const plainTryMs = 100;

type Client = RpcClient<typeof SessionService>;

/** Runs the benchmark. */
export default async function recovery({ rounds: asked }: { rounds: number }): Promise<BenchReport> {
  const rounds = Math.max(leastRounds, asked);
  const dir = await tempDir("manyhands-bench-");
  const frames = buildFrames(eventsEach, frameSizes, textBytes);
  await loadLog(dir.path, async (bus) => {
    for (let n = 0; n < sessions; n += 1) await storeFrames(bus, newId("sesn"), frames);
  });
  const nats = await startNatsServer({ dir: dir.path, syncAlways: true });
  const store = await storeProcess(nats, await freePort());
  await store.start();
  const client = createRpcClient(SessionService, { address: store.address(), defaultDeadlineMs: 2000 });
  const floor = await connectFloor(nats.url);
  try {
    const { session } = await client.createSession(create(CreateSessionRequestSchema, newSessionRequest()));
    const bed = { nats, store, client, floor, sessionId: session?.id ?? "" };
    const rows = [await restartStore(bed, rounds), await restartNats(bed, rounds)];
    return { bench: "recovery", rounds, rows: [...rows, ...(await longSessionRows(rounds))] };
  } catch (error) {
    throw new Error(`session-store wrote: ${store.output().slice(-2000)}`, { cause: error });
  } finally {
    client.close();
    await floor.close();
    await store.end("SIGTERM");
    await nats.stop();
    await dir.cleanup();
  }
}

interface Bed {
  readonly nats: NatsServer;
  readonly store: StoreProcess;
  readonly client: Client;
  readonly floor: Floor;
  readonly sessionId: string;
}

async function restartStore({ store, client, sessionId }: Bed, rounds: number) {
  const ours: number[] = [];
  const least: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const bare = await startBareGrpc();
    least.push(
      await timed(async () => {
        await bare.kill9();
        const again = await startBareGrpc();
        await again.call();
        await again.kill9();
      }),
    );
    ours.push(
      await timed(async () => {
        await store.end("SIGKILL");
        await store.start();
        await untilDone(() => append(client, sessionId));
      }),
    );
  }
  const note = `kill -9 of session-store, ${sessions * eventsEach} events stored; floor: a bare gRPC server likewise`;
  return timeRow("recovery_store", ours, least, note);
}

async function restartNats({ nats, client, floor, sessionId }: Bed, rounds: number) {
  const ours: number[] = [];
  const least: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const start = performance.now();
    await nats.kill9();
    await nats.restart();
    const [mine, plain] = await Promise.all([
      untilDone(() => append(client, sessionId)),
      untilDone(() => floor.publish(plainTryMs)),
    ]);
    ours.push(mine - start);
    least.push(plain - start);
  }
  const note = "kill -9 of nats-server, first append through session-store; floor: first publish of a plain client";
  return timeRow("recovery_nats", ours, least, note);
}

async function append(client: Client, sessionId: string): Promise<void> {
  await client.emitEvents(create(EmitEventsRequestSchema, { sessionId, events: [agentMessage(textBytes)] }));
}

/** Tries until it works; answers when that was. */
async function untilDone(work: () => Promise<unknown>): Promise<number> {
  const deadline = performance.now() + recoveryMs;
  for (;;) {
    try {
      await work();
      return performance.now();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(retryMs);
    }
  }
}
