/**
 * The list of sessions at scale. 20 000 sessions by default; `MH_TEST_SESSIONS=100000` for the figures of the README.
 * Sessions are written as raw frames before the service starts, on a server that does not sync: that is quicker.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { appendFrame, applyStreams, type Bus, connectBus, putMessage, subjects } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { type Event, FrameSchema } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createJetStreamSnapshotStore } from "./store/jetstream-snapshot-store.ts";
import { created } from "./testing/log.ts";
import { newSession, type Sessions, startStore, testConfig, userMessage, workspaceId } from "./testing/service.ts";

const count = Number(process.env.MH_TEST_SESSIONS ?? "20000");
const inFlight = 512;
const bornAt = Date.UTC(2026, 0, 1);
const settings = { MH_INDEX_SNAPSHOT_FRAMES: "1000", MH_ALLOW_DATA_LOSS: "true" };
const idOf = (n: number) => `sesn_bulk${String(n).padStart(7, "0")}`;

let server: NatsServer;
let bus: Bus;

beforeAll(async () => {
  server = await startNatsServer();
  bus = await connectBus({ url: server.url, name: "bulk", logger: silentLogger() });
  await applyStreams(bus, { replicas: 1, streams: ["MH_LOG", "MH_INDEX"] });
  let next = 0;
  const write = async () => {
    for (let n = next++; n < count; n = next++) await writeSession(n);
  };
  await Promise.all(Array.from({ length: inFlight }, write));
}, 300_000);

afterAll(async () => {
  await bus.close();
  await server.stop();
});

/** Every tenth has a message too, so that it is running. */
async function writeSession(n: number): Promise<void> {
  const makers: (() => Event)[] = n % 10 === 0 ? [created, () => userMessage("go", "sevt_go")] : [created];
  const at = timestampFromMs(bornAt + Math.floor(n / 3)); // three are as old as each other
  const events = makers.map((make, position) => ({ ...make(), position: BigInt(position), createdAt: at }));
  const payload = toBinary(FrameSchema, create(FrameSchema, { id: `frm_${n}`, events }));
  const place = { sessionId: idOf(n), frame: 0, position: 0, count: events.length, epoch: 0, status: "idle" };
  const { kind } = await appendFrame(bus, { ...place, payload }, 20_000);
  if (kind !== "stored") throw new Error(`session ${n}: ${kind}`);
}

/** Starts, says how long that took and how many frames were folded, and stops. */
async function start<T>(look: (sessions: Sessions) => Promise<T>) {
  const begun = performance.now();
  const store = await startStore(testConfig(server, settings));
  const tookMs = performance.now() - begun;
  const { index } = store.running.deps;
  try {
    return { tookMs, size: index.size(), folded: index.sequence() - index.begunAt, seen: await look(store.sessions) };
  } finally {
    await store.stop();
  }
}

const nothing = async () => undefined;

async function walk(
  sessions: Sessions,
  pageSize: number,
  direction: "nextPageToken" | "previousPageToken",
  pageToken = "",
) {
  const ids: string[] = [];
  let last = "";
  for (let token = pageToken, first = true; first || token !== ""; first = false) {
    const page = await sessions.listSessions({ workspaceId, pageSize, pageToken: token });
    ids.push(...(direction === "nextPageToken" ? page.sessions : page.sessions.toReversed()).map((one) => one.id));
    last = page.previousPageToken || last;
    token = page[direction];
  }
  return { ids, last };
}

it(`starts from its own snapshot with ${count} sessions, and folds only what came later`, {
  timeout: 180_000,
}, async () => {
  const cold = await start(nothing);
  expect([cold.size, cold.folded]).toEqual([count, count]);
  const warm = await start((sessions) => newSession(sessions, { sessionId: "sesn_later" }));
  expect(warm.folded).toBe(0);
  const again = await start((sessions) => sessions.getSession({ workspaceId, sessionId: "sesn_later" }));
  expect([again.size, again.folded]).toEqual([count + 1, 1]);
  expect(warm.tookMs).toBeLessThan(20_000);
  process.stdout.write(`index of ${count}: cold ${cold.tookMs.toFixed(0)} ms, warm ${warm.tookMs.toFixed(0)} ms\n`);
});

it("pages through all of them, forth and back, and by filter", { timeout: 180_000 }, async () => {
  await start(async (sessions) => {
    const begun = performance.now();
    const forth = await walk(sessions, 1000, "nextPageToken");
    const perPage = (performance.now() - begun) / Math.ceil(count / 1000);
    const newest = Array.from({ length: count }, (_, n) => idOf(count - 1 - n));
    expect(forth.ids).toEqual(["sesn_later", ...newest]);
    const back = await walk(sessions, 1000, "previousPageToken", forth.last);
    expect(back.ids.toReversed()).toEqual(forth.ids.slice(0, back.ids.length));
    expect(back.ids.length).toBeGreaterThan(count - 2000);
    const small = performance.now();
    const middle = { seconds: BigInt(Math.floor((bornAt + count / 6) / 1000)), nanos: 0 };
    const some = await sessions.listSessions({ workspaceId, pageSize: 20, createdBefore: middle, statuses: [2] });
    expect(some.sessions).toHaveLength(20);
    const ms = [perPage, performance.now() - small].map((one) => one.toFixed(1));
    process.stdout.write(`list of ${count}: ${ms[0]} ms per page of 1000, ${ms[1]} ms for 20 by filter\n`);
  });
});

it("does not use a snapshot that is cut, of another version or of another log", { timeout: 180_000 }, async () => {
  const snapshots = createJetStreamSnapshotStore(bus, "sessions");
  const good = await snapshots.load();
  expect(good?.pieces.length).toBeGreaterThan(0);
  const put = async (version: string, pieces: Uint8Array[]) => {
    async function* all() {
      yield* pieces;
    }
    const mark = { sequence: good?.sequence ?? 0, version };
    expect(await snapshots.save(mark, all(), () => true)).toBe("saved");
  };
  await put("another", []);
  expect((await start(nothing)).folded).toBeGreaterThan(count);
  await eventually(async () => (await snapshots.load())?.version === good?.version);
  await put(good?.version ?? "", [new Uint8Array([1, 2, 3])]);
  expect((await start(nothing)).folded).toBeGreaterThan(count);
  const part = subjects.index("sessions", "head");
  await putMessage(bus, { stream: "MH_INDEX", subject: part, payload: Buffer.from("{"), timeoutMs: 5000 });
  expect(await snapshots.load()).toBeUndefined();
  expect((await start(nothing)).size).toBe(count + 1);
  snapshots.close();
});
