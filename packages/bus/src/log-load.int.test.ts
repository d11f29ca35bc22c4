import { silentLogger } from "@manyhands/kit";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyStreams,
  type Bus,
  connectBus,
  createDirectReader,
  createFrameAppender,
  createFrameReader,
  followLog,
  readFrames,
  subscribeTail,
} from "./index.ts";

let server: NatsServer;
let bus: Bus;

const many = 200;

function frame(sessionId: string, number: number, text = `${sessionId} ${number}`) {
  const payload = new TextEncoder().encode(text);
  return { sessionId, frame: number, payload, position: number, count: 1, epoch: 0, status: "idle" };
}

/** Frames of the log that were stored in a group. */
async function grouped(since = 1): Promise<number> {
  const seen: boolean[] = [];
  const stream = await jetstreamManager(bus.connection);
  const { state } = await stream.streams.info("MH_LOG");
  for (let sequence = since; sequence <= state.last_seq; sequence += 1) {
    const message = await stream.streams.getMessage("MH_LOG", { seq: sequence });
    seen.push(message?.header.has("Nats-Batch-Id") === true);
  }
  return seen.filter((one) => one).length;
}

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  bus = await connectBus({ url: server.url, name: "test", logger: silentLogger() });
  await applyStreams(bus, { replicas: 1, streams: ["MH_LOG"] });
});

afterAll(async () => {
  await bus.close();
  await server.stop();
});

describe("many appends at once", () => {
  it("go in groups, each with the sequence it is stored under, seen by tail and follower", async () => {
    const appender = createFrameAppender(bus);
    const followed: string[] = [];
    const tailed: number[] = [];
    const stop = await subscribeTail(bus, "sesn_many_7", (one) => tailed.push(one.frame));
    const outcomes = await Promise.all(
      Array.from({ length: many }, (_, n) => appender.append(frame(`sesn_many_${n}`, 0), 5000)),
    );
    const sequences = outcomes.map((one) => (one.kind === "stored" ? one.sequence : 0));
    expect(new Set(sequences)).toEqual(new Set(Array.from({ length: many }, (_, n) => n + 1)));
    expect(await grouped()).toBeGreaterThan(many / 2);
    const end = Promise.withResolvers<void>();
    const follower = await followLog(bus, {
      fromSequence: 1,
      onFrame: (one) => void followed.push(`${one.sessionId} ${one.sequence}`),
      onCaughtUp: () => end.resolve(),
    });
    await end.promise;
    await follower.stop();
    expect(followed.toSorted()).toEqual(sequences.map((sequence, n) => `sesn_many_${n} ${sequence}`).toSorted());
    expect(tailed).toEqual([0]);
    stop();
  });

  it("are each answered when one of their group exists: the others are stored, it is to be compared", async () => {
    const appender = createFrameAppender(bus);
    await appender.append(frame("sesn_taken_50", 0, "theirs"), 5000);
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, (_, n) => appender.append(frame(`sesn_taken_${n}`, 0), 5000)),
    );
    expect(outcomes[50]).toEqual({ kind: "exists", maybeOurs: true });
    expect(outcomes.filter((one) => one.kind === "stored")).toHaveLength(99);
    const reader = createDirectReader(bus);
    const [there] = await readFrames(reader, "sesn_taken_50", [0], 5000);
    expect(new TextDecoder().decode(there?.payload)).toBe("theirs");
    reader.close();
  });

  it("are each answered when one of their group cannot be sent: the others are stored", async () => {
    const appender = createFrameAppender(bus);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, (_, n) => {
        const traceparent = n === 50 ? { traceparent: "two\nlines" } : {};
        return appender.append({ ...frame(`sesn_bad_${n}`, 0), ...traceparent }, 5000);
      }),
    );
    expect(outcomes[50]).toMatchObject({ status: "rejected" });
    expect(outcomes.filter((one) => one.status === "fulfilled" && one.value.kind === "stored")).toHaveLength(99);
  });

  it("go one by one when the stream takes no groups", async () => {
    const manager = await jetstreamManager(bus.connection);
    const { state } = await manager.streams.info("MH_LOG");
    await manager.streams.update("MH_LOG", { allow_atomic: false });
    const appender = createFrameAppender(bus);
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, (_, n) => appender.append(frame(`sesn_single_${n}`, 0), 5000)),
    );
    expect(outcomes.filter((one) => one.kind === "stored")).toHaveLength(100);
    expect(await grouped(state.last_seq + 1)).toBe(0);
    await manager.streams.update("MH_LOG", { allow_atomic: true });
  });
});

describe("reading on through a session", () => {
  const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

  it("answers the same frames whether they lie close together, scattered, or end", async () => {
    const appender = createFrameAppender(bus);
    for (const n of numbers(0, 600)) {
      await appender.append(frame("sesn_dense", n), 5000);
      if (n >= 300) await appender.append(frame("sesn_between", n - 300), 5000);
      if (n >= 450) await appender.append(frame("sesn_around", n - 450), 5000);
    }
    const reader = createDirectReader(bus);
    const read = createFrameReader(reader);
    for (const [from, to] of [
      [0, 150],
      [150, 300],
      [300, 450],
      [450, 590],
      [590, 730],
      [150, 300],
    ] as const) {
      const found = await read("sesn_dense", numbers(from, to), 5000);
      expect(found.map((one) => one.frame)).toEqual(numbers(from, Math.min(to, 600)));
      const texts = found.map((one) => new TextDecoder().decode(one.payload));
      expect(texts).toEqual(found.map((one) => `sesn_dense ${one.frame}`));
    }
    reader.close();
  });
});
