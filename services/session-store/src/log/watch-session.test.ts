import { eventually } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import type { EventStore } from "../store/event-store.ts";
import { createMemoryEventStore } from "../store/memory-event-store.ts";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { agentMessage } from "../testing/service.ts";
import { type WatchItem, watchSession } from "./watch-session.ts";

const filter = { types: [], includePlatform: true };

async function watched(
  store: EventStore,
  writerStore: EventStore,
  bounds: { frames?: number; heartbeatMs?: number } = {},
) {
  const writer = replicaOver(writerStore);
  const reader = replicaOver(store);
  await writer.log.create("sesn_w", append(created()), within());
  const hot = await reader.cache.open("sesn_w");
  const controller = new AbortController();
  const deps = {
    store,
    cache: reader.cache,
    deltas: async () => () => undefined,
    maxBufferedFrames: bounds.frames ?? 100,
    maxBufferedBytes: 1_000_000,
  };
  const query = { hot, from: 0, filter, heartbeatMs: bounds.heartbeatMs ?? 60_000, includeDeltas: false };
  const stream = watchSession(deps, query, controller.signal);
  let made = 0;
  const write = async (count: number) => {
    for (let n = 0; n < count; n += 1) {
      made += 1;
      await writer.log.append("sesn_w", append(agentMessage(String(made), `sevt_${made}`)), within());
    }
  };
  return { stream, write, stop: () => controller.abort(new Error("stopped")) };
}

function gather(stream: AsyncGenerator<readonly WatchItem[]>) {
  const items: WatchItem[] = [];
  const ended = (async () => {
    for await (const batch of stream) items.push(...batch);
  })().catch((error: unknown) => error);
  return {
    items,
    ended,
    positions: () => items.flatMap((item) => (item.kind === "event" ? [Number(item.event.position)] : [])),
  };
}

const upTo = (n: number) => Array.from({ length: n }, (_, position) => position);

describe("watchSession", () => {
  it("fills from the log whatever the tail misses, doubles or sends out of order", async () => {
    const store = createMemoryEventStore();
    const unreliable: EventStore = {
      ...store,
      tail: (id, onFrame) =>
        store.tail(id, (frame) => {
          if (frame.frame % 3 === 1) return;
          onFrame(frame);
          if (frame.frame % 4 === 0) onFrame(frame);
        }),
    };
    const { stream, write, stop } = await watched(unreliable, store);
    const seen = gather(stream);
    await write(30);
    await eventually(() => seen.positions().length === 31);
    expect(seen.positions()).toEqual(upTo(31));
    stop();
    await seen.ended;
  });

  it("finds what a dead tail missed at the next heartbeat, and after a reconnect at once", async () => {
    const store = createMemoryEventStore();
    let reconnect: () => void = () => undefined;
    const dead: EventStore = {
      ...store,
      tail: async () => () => undefined,
      onReconnect: (listener) => {
        reconnect = listener;
        return () => undefined;
      },
    };
    const beating = await watched(dead, store, { heartbeatMs: 30 });
    const seen = gather(beating.stream);
    await beating.write(3);
    await eventually(() => seen.positions().length === 4);
    beating.stop();
    await seen.ended;

    const other = createMemoryEventStore();
    const silent = await watched({ ...dead, read: other.read, readFromLeader: other.readFromLeader }, other);
    const later = gather(silent.stream);
    await eventually(() => later.items.some((item) => item.kind === "caughtUp"));
    await silent.write(2);
    expect(later.positions()).toEqual([0]);
    reconnect();
    await eventually(() => later.positions().length === 3);
    silent.stop();
    await later.ended;
  });

  it("waits through an outage of the store and keeps the reader's place", async () => {
    const store = createMemoryEventStore();
    const { AppError } = await import("@manyhands/kit");
    let away = false;
    const flaky: EventStore = {
      ...store,
      tail: async () => () => undefined,
      read: async (id, frames) => {
        if (away) throw AppError.unavailable("BUS_UNAVAILABLE", "away");
        return store.read(id, frames);
      },
    };
    const { stream, write, stop } = await watched(flaky, store, { heartbeatMs: 20 });
    const seen = gather(stream);
    await eventually(() => seen.items.some((item) => item.kind === "caughtUp"));
    away = true;
    await write(2);
    const beats = () => seen.items.filter((item) => item.kind === "heartbeat").length;
    const before = beats();
    await eventually(() => beats() > before);
    expect(seen.positions()).toEqual([0]);
    away = false;
    await eventually(() => seen.positions().length === 3);
    stop();
    await seen.ended;
  });

  it("does not drop a reader that is slow during history, only one that is slow live", async () => {
    const store = createMemoryEventStore();
    const { stream, write, stop } = await watched(store, store, { frames: 3 });
    expect((await stream.next()).value).toMatchObject([{ kind: "event" }]);
    await write(20);
    const positions = [0];
    for (;;) {
      const { value: batch = [] } = await stream.next();
      const items: readonly WatchItem[] = batch;
      if (items.some((item) => item.kind === "caughtUp")) break;
      positions.push(...items.flatMap((item) => (item.kind === "event" ? [item.event.position] : [])));
    }
    expect(positions).toEqual(upTo(21));
    await write(10);
    await expect(stream.next()).rejects.toMatchObject({
      reason: "READER_TOO_SLOW",
      details: { metadata: { resume_after_position: "20" } },
    });
    stop();
  });
});
