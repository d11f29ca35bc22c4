import { create, toBinary } from "@bufbuild/protobuf";
import { silentLogger } from "@manyhands/kit";
import { DeltaSchema, EventSchema, FrameSchema } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  appendFrame,
  applyStreams,
  type Bus,
  checkStreams,
  checkSyncAlways,
  connectBus,
  consumeWakes,
  createDirectReader,
  followLog,
  hasFrames,
  observeUndeclared,
  openBucket,
  publishCredentialUse,
  publishDelta,
  publishWake,
  purgeSession,
  readFrameFromLeader,
  readFrames,
  type StreamName,
  streamTable,
  subscribeDeltas,
  subscribeTail,
  type Wake,
} from "./index.ts";

const all = streamTable.map((row) => row.name) as StreamName[]; // the test above the table proves that they are
let server: NatsServer;
let bus: Bus;

const connectTo = (url: string, name = "test") => connectBus({ url, name, logger: silentLogger() });

function frame(sessionId: string, number: number, position = number) {
  const payload = toBinary(FrameSchema, create(FrameSchema, { id: `frm_${sessionId}_${number}` }));
  return { sessionId, frame: number, payload, position, count: 1, epoch: 0, status: "idle" };
}

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  bus = await connectTo(server.url);
  await applyStreams(bus, { replicas: 1, streams: all });
});

afterAll(async () => {
  await bus.close();
  await server.stop();
});

describe("streams", () => {
  it("can be applied again and agree with their declaration", async () => {
    await applyStreams(bus, { replicas: 1, streams: all });
    await checkStreams(bus, { replicas: 1, streams: all });
  });

  it("lists drift instead of altering it", async () => {
    const manager = await jetstreamManager(bus.connection);
    await manager.streams.update("KV_MH_HANDS", { max_msg_size: 77 });
    await expect(applyStreams(bus, { replicas: 1, streams: ["KV_MH_HANDS"] })).rejects.toMatchObject({
      reason: "STREAM_DRIFT",
      message: expect.stringContaining("KV_MH_HANDS.max_msg_size is 77, declared 524288"),
    });
    expect((await manager.streams.info("KV_MH_HANDS")).config.max_msg_size).toBe(77);
    await manager.streams.update("KV_MH_HANDS", { max_msg_size: 524_288 });
  });

  it("proves sync always by the monitoring port, and says so when it cannot", async () => {
    await checkSyncAlways(server.monitorUrl);
    await expect(checkSyncAlways(undefined)).rejects.toMatchObject({ reason: "SYNC_NOT_PROVEN" });
    await using lazy = await startNatsServer();
    await expect(checkSyncAlways(lazy.monitorUrl)).rejects.toMatchObject({ reason: "SYNC_NOT_PROVEN" });
  });
});

describe("frames", () => {
  it("stores a frame once and tells the loser", async () => {
    const first = await appendFrame(bus, frame("sesn_once", 0), 5000);
    expect(first).toMatchObject({ kind: "stored" });
    expect(await appendFrame(bus, frame("sesn_once", 0), 5000)).toEqual({ kind: "exists" });
    const winners = await Promise.all([1, 2, 3, 4, 5].map(() => appendFrame(bus, frame("sesn_once", 1), 5000)));
    expect(winners.filter((outcome) => outcome.kind === "stored")).toHaveLength(1);
  });

  it("reads explicit frames, leaves out what is missing, and answers every concurrent read", async () => {
    for (let n = 0; n < 20; n += 1) await appendFrame(bus, frame("sesn_read", n), 5000);
    const reader = createDirectReader(bus);
    const reads = await Promise.all([
      readFrames(reader, "sesn_read", [3, 4, 5], 5000),
      readFrames(reader, "sesn_read", [18, 19, 20, 21], 5000),
      readFrames(reader, "sesn_none", [0, 1], 5000),
    ]);
    expect(reads.map((list) => list.map((one) => one.frame))).toEqual([[3, 4, 5], [18, 19], []]);
    expect(reads[0]?.[0]).toMatchObject({ sessionId: "sesn_read", position: 3, count: 1 });
    reader.close();
  });

  it("reads on when the byte limit cuts an answer", async () => {
    const payload = new Uint8Array(400 * 1024);
    for (let n = 0; n < 30; n += 1) await appendFrame(bus, { ...frame("sesn_big", n), payload }, 5000);
    const reader = createDirectReader(bus);
    const list = await readFrames(
      reader,
      "sesn_big",
      Array.from({ length: 40 }, (_, n) => n),
      5000,
    );
    expect(list.map((one) => one.frame)).toEqual(Array.from({ length: 30 }, (_, n) => n));
    reader.close();
  });

  it("reads through the leader, finds sessions and purges all but the tombstone", async () => {
    for (let n = 0; n < 5; n += 1) await appendFrame(bus, frame("sesn_purge", n), 5000);
    expect((await readFrameFromLeader(bus, "sesn_purge", 4, 5000))?.payload).toEqual(
      Buffer.from(frame("sesn_purge", 4).payload),
    );
    expect(await readFrameFromLeader(bus, "sesn_purge", 5, 5000)).toBeUndefined();
    expect(await purgeSession(bus, "sesn_purge", 5000)).toBe(4);
    expect(await hasFrames(bus, "sesn_purge", 5000)).toBe(true);
    expect(await hasFrames(bus, "sesn_never", 5000)).toBe(false);
  });

  it("shows the tail only what was stored, never losers", async () => {
    const seen: number[] = [];
    const stop = await subscribeTail(bus, "sesn_tail", (one) => seen.push(one.frame));
    await appendFrame(bus, frame("sesn_tail", 0), 5000);
    await appendFrame(bus, frame("sesn_tail", 0), 5000);
    await appendFrame(bus, frame("sesn_tail", 1), 5000);
    await eventually(() => seen.length >= 2);
    expect(seen).toEqual([0, 1]);
    stop();
  });

  it("follows every session from the start and then live", async () => {
    const seen: string[] = [];
    let caughtUp = false;
    const follower = await followLog(bus, {
      fromSequence: 1,
      onFrame: (one) => seen.push(`${one.sessionId}/${one.frame}`),
      onCaughtUp: () => {
        caughtUp = true;
      },
    });
    await eventually(() => caughtUp);
    expect(seen).toContain("sesn_read/7");
    await appendFrame(bus, frame("sesn_follow", 0), 5000);
    await eventually(() => seen.includes("sesn_follow/0"));
    await follower.stop();
  });

  it("tells at once what others stored when asked, and not what whoever follows stored", async () => {
    const seen: string[] = [];
    const caughtUp = Promise.withResolvers<void>();
    const follower = await followLog(bus, {
      fromSequence: 1,
      onFrame: (one) => seen.push(`${one.sessionId}/${one.frame}`),
      onCaughtUp: caughtUp.resolve,
    });
    await caughtUp.promise;
    const store = async (sessionId: string, number: number) => {
      const outcome = await appendFrame(bus, frame(sessionId, number), 5000);
      return outcome.kind === "stored" ? outcome.sequence : expect.fail(outcome.kind);
    };
    const before = follower.sequence();
    for (const number of [0, 1]) follower.skip(await store("sesn_mine", number));
    expect(follower.sequence()).toBe(before + 2); // nobody else stored anything between
    await store("sesn_theirs", 0);
    follower.skip(await store("sesn_mine", 2));
    expect(follower.sequence()).toBe(before + 2);
    await store("sesn_theirs", 1);
    expect(await follower.readOn(before + 5, 5000)).toBe(true);
    expect(seen.slice(-2)).toEqual(["sesn_theirs/0", "sesn_theirs/1"]);
    expect(seen.filter((one) => one.startsWith("sesn_mine"))).toEqual([]);
    expect(await follower.readOn(before + 6, 50)).toBe(false);
    await purgeSession(bus, "sesn_theirs", 5000, 0);
    const last = await store("sesn_theirs", 0);
    await purgeSession(bus, "sesn_theirs", 5000, 0);
    expect(await follower.readOn(last, 5000)).toBe(true); // it is gone, so that nothing is left to be told
    await follower.stop();
  });

  it("asks the log less and less often while nothing is stored, and still tells what others store", async () => {
    let asked = 0;
    const subscription = bus.connection.subscribe("$JS.API.DIRECT.GET.MH_LOG", {
      callback: () => {
        asked += 1;
      },
    });
    const seen: string[] = [];
    const follower = await followLog(bus, {
      fromSequence: 1,
      onFrame: (one) => seen.push(one.sessionId),
      onCaughtUp: () => undefined,
    });
    let ticks = 0;
    const clock = setInterval(() => {
      ticks += 1;
    }, 100); // as often as it asks while the log grows
    await eventually(() => ticks >= 16);
    clearInterval(clock);
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(ticks / 2);
    await appendFrame(bus, frame("sesn_after_pause", 0), 5000);
    await eventually(() => seen.includes("sesn_after_pause"));
    await follower.stop();
    subscription.unsubscribe();
  });

  it("refuses ids that could reach into other subjects", async () => {
    await expect(appendFrame(bus, frame("sesn_a.*", 0), 5000)).rejects.toMatchObject({ kind: "invalid" });
    await expect(appendFrame(bus, frame("sesn_>", 0), 5000)).rejects.toMatchObject({ kind: "invalid" });
  });
});

describe("wakes", () => {
  it("keeps one pending wake per session, beats while held, and delivers a new one after done", async () => {
    const wakes: Wake[] = [];
    const held = Promise.withResolvers<void>();
    expect(await publishWake(bus, { kind: "k1", sessionId: "sesn_w" })).toBe("published");
    expect(await publishWake(bus, { kind: "k1", sessionId: "sesn_w" })).toBe("pending");
    const consumer = await consumeWakes(bus, {
      kind: "k1",
      concurrency: 2,
      ackWaitMs: 300,
      handle: async (wake) => {
        wakes.push(wake);
        if (wakes.length === 1) await held.promise;
      },
    });
    await eventually(() => wakes.length === 1);
    const heldSince = performance.now();
    await eventually(() => performance.now() - heldSince > 900, { everyMs: 50 });
    expect(wakes).toHaveLength(1);
    expect(await publishWake(bus, { kind: "k1", sessionId: "sesn_w" })).toBe("pending");
    held.resolve();
    await eventually(async () => (await publishWake(bus, { kind: "k1", sessionId: "sesn_w" })) === "published");
    await eventually(() => wakes.length === 2);
    expect(wakes[1]?.delivery).toBe(1);
    await consumer.stop();
  });

  it("gives a wake back when its handler throws, and holds no more than the concurrency", async () => {
    let running = 0;
    let most = 0;
    const deliveries: number[] = [];
    for (const id of ["a", "b", "c", "d"]) await publishWake(bus, { kind: "k2", sessionId: `sesn_${id}` });
    const consumer = await consumeWakes(bus, {
      kind: "k2",
      concurrency: 2,
      handle: async (wake) => {
        running += 1;
        most = Math.max(most, running);
        await eventually(() => true);
        running -= 1;
        deliveries.push(wake.delivery);
        if (wake.delivery === 1) throw new Error("once");
      },
    });
    await eventually(() => deliveries.filter((delivery) => delivery === 2).length === 4, { timeoutMs: 10_000 });
    expect(most).toBeLessThanOrEqual(2);
    await consumer.stop();
  });
});

describe("wakes that have to wait for room", () => {
  it("stay in the queue, can be taken one by one all the same, and are taken once there is room", async () => {
    for (const id of ["a", "b", "c"]) await publishWake(bus, { kind: "k3", sessionId: `sesn_room_${id}` });
    const free = Promise.withResolvers<void>();
    let isFull = true;
    const taken: string[] = [];
    const consumer = await consumeWakes(bus, {
      kind: "k3",
      concurrency: 8,
      room: { isFull: () => isFull, whenFree: () => free.promise },
      handle: async ({ sessionId }) => {
        taken.push(sessionId);
      },
    });
    const deliveries: number[] = [];
    const giveBackOnce = async (wake: Wake) => {
      deliveries.push(wake.delivery);
      if (wake.delivery === 1) await wake.release();
    };
    expect(await consumer.takeWaiting(giveBackOnce)).toBe(true);
    await eventually(() => deliveries.length === 1);
    await bus.connection.flush();
    expect(await consumer.takeWaiting(giveBackOnce)).toBe(true); // the same one: what was given back waits as well
    await eventually(() => deliveries.length === 2);
    expect(deliveries).toEqual([1, 2]);
    expect(taken).toEqual([]);
    isFull = false;
    free.resolve();
    await eventually(() => taken.length === 2);
    expect(taken).toEqual(["sesn_room_b", "sesn_room_c"]);
    expect(await consumer.takeWaiting(giveBackOnce)).toBe(false);
    await consumer.stop();
    expect(await consumer.takeWaiting(giveBackOnce)).toBe(false);
  });
});

describe("deltas and audit", () => {
  it("carries deltas and stores audit facts", async () => {
    const seen: string[] = [];
    const stop = await subscribeDeltas(bus, "sesn_d", (delta) => seen.push(delta.eventId));
    publishDelta(bus, "sesn_d", create(DeltaSchema, { eventId: "sevt_1", eventType: "agent.message" }));
    await eventually(() => seen.length === 1);
    stop();
    const event = create(EventSchema, { id: "sevt_2", type: "credential.used" });
    await publishCredentialUse(bus, { sessionId: "sesn_d", workspaceId: "wrkspc_1", event });
    const manager = await jetstreamManager(bus.connection);
    expect((await manager.streams.info("MH_AUDIT")).state.messages).toBe(1);
  });
});

describe("buckets", () => {
  it("creates, compares and swaps, lists by pattern, watches and deletes", async () => {
    const bucket = await openBucket(bus, "MH_AGENTS");
    const bytes = (text: string) => new TextEncoder().encode(text);
    expect(await bucket.entries("head.w1.*")).toEqual([]);
    let emptyReady = false;
    const stopEmpty = await bucket.watch(
      "nothing.*",
      () => undefined,
      () => {
        emptyReady = true;
      },
    );
    expect(emptyReady).toBe(true);
    stopEmpty();
    const revision = await bucket.create("head.w1.a", bytes("1"));
    expect(revision).toBeGreaterThan(0);
    expect(await bucket.create("head.w1.a", bytes("2"))).toBeUndefined();
    const next = await bucket.update("head.w1.a", bytes("2"), revision ?? 0);
    expect(next).toBeGreaterThan(revision ?? 0);
    expect(await bucket.update("head.w1.a", bytes("3"), revision ?? 0)).toBeUndefined();
    await bucket.put("head.w1.b", bytes("b"));
    await bucket.put("head.w2.c", bytes("c"));
    expect((await bucket.keys("head.w1.*")).sort()).toEqual(["head.w1.a", "head.w1.b"]);
    const seen: string[] = [];
    let ready = false;
    const stop = await bucket.watch(
      "head.w1.*",
      (change) => seen.push(change.kind === "put" ? change.entry.key : `-${change.key}`),
      () => {
        ready = true;
      },
    );
    await eventually(() => ready);
    expect(await bucket.delete("head.w1.b")).toBe(true);
    expect(await bucket.delete("head.w1.a", revision)).toBe(false);
    await eventually(() => seen.includes("-head.w1.b"));
    stop();
    expect(await bucket.get("head.w1.b")).toBeUndefined();
    expect(new TextDecoder().decode((await bucket.get("head.w1.a"))?.value)).toBe("2");
    expect(await bucket.create("head.w1.b", bytes("again"))).toBeGreaterThan(0);
    const keys = Array.from({ length: 1100 }, (_, n) => `many.w1.${n}`);
    await Promise.all(keys.map((key) => bucket.put(key, bytes(key))));
    expect((await bucket.keys("many.w1.*")).sort()).toEqual([...keys].sort());
    expect(await bucket.entries("many.>", 7)).toHaveLength(7);
    await expect(bucket.get("head..x")).rejects.toMatchObject({ kind: "invalid" });
  });
});

describe("an absent server", () => {
  it("answers unavailable at once, stores nothing later, and comes back by itself", async () => {
    await using other = await startNatsServer({ syncAlways: true });
    const away = await connectTo(other.url, "away");
    await applyStreams(away, { replicas: 1, streams: ["MH_LOG"] });
    await other.kill9();
    await eventually(() => !away.connected());
    await expect(appendFrame(away, frame("sesn_away", 0), 1000)).rejects.toMatchObject({ kind: "unavailable" });
    await other.restart();
    await eventually(() => away.connected(), { timeoutMs: 10_000 });
    await eventually(async () => (await hasFrames(away, "sesn_away", 1000).catch(() => undefined)) === false);
    expect(await appendFrame(away, frame("sesn_away", 0), 5000)).toMatchObject({ kind: "stored" });
    await away.close();
  });
});

describe("the bus document", () => {
  it("names everything that this suite's helpers publish", async () => {
    const observer = await observeUndeclared(bus);
    await appendFrame(bus, frame("sesn_declared", 0), 5000);
    await publishWake(bus, { kind: "k3", sessionId: "sesn_declared" });
    publishDelta(bus, "sesn_declared", create(DeltaSchema, { eventId: "sevt_1" }));
    bus.connection.publish("mh.rogue.x", "");
    await eventually(() => observer.seen().length > 0);
    expect(observer.seen()).toEqual(["mh.rogue.x"]);
    expect(observer.total()).toBeGreaterThan(3);
    observer.stop();
  });
});
