/**
 * What the length of a session costs who wakes it or forks it: a session of 100 000 events, as long after its newest
 * checkpoint as it gets, beside one of 100 events.
 */
import { isDeepStrictEqual } from "node:util";
import { connectBus, subscribeTail } from "@manyhands/bus";
import { checkpointDraft, emptyState, fold } from "@manyhands/core";
import { createRpcClient, newId, type RpcClient, silentLogger, systemClock } from "@manyhands/kit";
import { encodeEvent, SessionService } from "@manyhands/protocol";
import { createSessionLog, type SessionLog } from "../../../services/harness/src/loop/session-log.ts";
import { agentMessage } from "./events.ts";
import { buildFrames, storeFrames } from "./load-log.ts";
import { startRig } from "./rig.ts";
import { type Row, timed, timeRow } from "./rows.ts";

const longEvents = 100_000;
const shortEvents = 100;
/** The harness's default for MH_CHECKPOINT_EVENTS. */
const checkpointEvents = 128;
const textBytes = 200;
const workspaceId = "wrkspc_bench";
const frameSizes = [1, 3, 1, 2, 4, 1];
const warmUp = 50;
const perRound = 60;

/** The rows `wake_slope` and `fork`. */
export async function longSessionRows(rounds: number): Promise<Row[]> {
  const [longId, shortId] = [newId("sesn"), newId("sesn")];
  const rig = await startRig(async (bus) => {
    await storeFrames(bus, longId, buildFrames(longEvents - checkpointEvents, frameSizes, textBytes));
    await storeFrames(bus, shortId, buildFrames(shortEvents, frameSizes, textBytes));
  });
  const bus = await connectBus({ url: rig.nats.url, name: "bench-wake", logger: silentLogger() });
  const client = createRpcClient(SessionService, {
    address: rig.running.addresses.grpc ?? "",
    defaultDeadlineMs: 30_000,
  });
  try {
    const log = createSessionLog({
      sessions: client,
      subscribeTail: (sessionId, onFrame) => subscribeTail(bus, sessionId, onFrame),
      clock: systemClock,
      newId,
    });
    await writeCheckpoint(client, log, longId);
    return [await wakeSlope(log, longId, shortId, rounds), await forkRow(client, longId, shortId, rounds)];
  } finally {
    client.close();
    await bus.close();
    await rig.stop();
  }
}

/** A checkpoint as a brain writes it, and then as many events as there may be before the next one. */
async function writeCheckpoint(client: Client, log: SessionLog, sessionId: string): Promise<void> {
  const state = fold(await log.read(sessionId, 0), emptyState);
  const draft = state.phase === "unborn" || state.phase === "closed" ? undefined : checkpointDraft(state);
  if (draft === undefined) throw new Error("the session has no state to save");
  await client.emitEvents({ sessionId, events: [encodeEvent({ ...draft, id: newId("sevt") })] });
  for (let n = 1; n < checkpointEvents; n += 1)
    await client.emitEvents({ sessionId, events: [agentMessage(textBytes)] });
  const [opened, whole] = [await log.open(sessionId), fold(await log.read(sessionId, 0))];
  if (opened.events.length !== checkpointEvents) throw new Error(`${opened.events.length} events were read`);
  if (!isDeepStrictEqual(opened.state, whole)) throw new Error("the checkpoint does not fold to what the log folds to");
}

type Client = RpcClient<typeof SessionService>;

async function wakeSlope(log: SessionLog, longId: string, shortId: string, rounds: number): Promise<Row> {
  const [long, short] = [[] as number[], [] as number[]];
  for (let n = 0; n < warmUp + rounds * perRound; n += 1) {
    const times = [await timed(() => log.open(longId)), await timed(() => log.open(shortId))] as const;
    if (n < warmUp) continue;
    long.push(times[0]);
    short.push(times[1]);
  }
  const note = `wake state of ${longEvents} events, ${checkpointEvents} after the newest checkpoint; floor: of ${shortEvents} events`;
  return timeRow("wake_slope", long, short, note);
}

async function forkRow(client: Client, longId: string, shortId: string, rounds: number): Promise<Row> {
  const [forks, appends] = [[] as number[], [] as number[]];
  for (let n = 0; n < warmUp + rounds * perRound; n += 1) {
    const atPosition = BigInt(1 + Math.floor(Math.random() * longEvents));
    const times = [
      await timed(() => client.forkSession({ workspaceId, sessionId: longId, atPosition })),
      await timed(() => client.emitEvents({ sessionId: shortId, events: [agentMessage(textBytes)] })),
    ] as const;
    if (n < warmUp) continue;
    forks.push(times[0]);
    appends.push(times[1]);
  }
  const note = `at any position of ${longEvents} events, through gRPC; floor: one append through gRPC`;
  return timeRow("fork", forks, appends, note);
}
