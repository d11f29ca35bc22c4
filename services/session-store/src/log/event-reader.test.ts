import { systemClock } from "@manyhands/kit";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { EventStore } from "../store/event-store.ts";
import { createMemoryEventStore } from "../store/memory-event-store.ts";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { agentMessage, userMessage } from "../testing/service.ts";
import { readEvents } from "./event-reader.ts";
import { findPosition } from "./find-event.ts";
import { createHotSession, type HotSession } from "./hot-session.ts";
import { selectPage } from "./select-events.ts";
import { createSessionCache } from "./session-cache.ts";
import { createSessionLog } from "./session-log.ts";

const signal = new AbortController().signal;

/** A session of these frame sizes after its first frame; answers it as a reader that knows only its head has it. */
async function sessionOf(sizes: readonly number[]): Promise<{ store: EventStore; hot: HotSession; total: number }> {
  const store = createMemoryEventStore();
  const { log, cache } = replicaOver(store);
  await log.create("sesn_r", append(created()), within());
  let total = 1;
  for (const size of sizes) {
    const events = Array.from({ length: size }, (_, n) =>
      (total + n) % 3 === 0
        ? userMessage(String(total + n), `sevt_${total + n}`)
        : agentMessage(String(total + n), `sevt_${total + n}`),
    );
    await log.append("sesn_r", append(...events), within());
    total += size;
  }
  const known = await cache.current("sesn_r");
  const hot = createHotSession("sesn_r");
  Object.assign(hot, { header: known.header, nextFrame: known.nextFrame, lastHash: known.lastHash });
  return { store, hot, total };
}

async function positions(store: EventStore, hot: HotSession, from: number, to: number, descending: boolean) {
  const all: number[] = [];
  for await (const chunk of readEvents(store, hot, { from, to, descending, hint: 10 })) {
    all.push(...chunk.map((event) => Number(event.position)));
  }
  return all;
}

it("reads any slice of any log either way, knowing only its head", async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 220 });
  const slices = fc.array(fc.tuple(fc.nat(1200), fc.nat(1200), fc.boolean()), { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(sizes, slices, async (list, queries) => {
      const { store, hot, total } = await sessionOf(list);
      for (const [a, b, descending] of queries) {
        const from = Math.min(a, total);
        const to = Math.min(from + b, total);
        const wanted = Array.from({ length: to - from }, (_, n) => from + n);
        expect(await positions(store, hot, from, to, descending)).toEqual(descending ? wanted.reverse() : wanted);
      }
    }),
    { numRuns: 25, endOnFailure: true },
  );
});

it("reads on behind its first chunk, which is smaller than the others, without a gap", async () => {
  const { store, hot, total } = await sessionOf(Array.from({ length: 700 }, () => 1));
  const upwards = await positions(store, hot, 0, total, false);
  expect(upwards).toEqual(Array.from({ length: total }, (_, n) => n));
  expect(await positions(store, hot, 0, total, true)).toEqual(upwards.reverse());
});

it("pages through a filter without gap or duplicate, also when scanning is cut short", async () => {
  const { store, hot, total } = await sessionOf(Array.from({ length: 100 }, (_, n) => (n % 5) + 1));
  for (const descending of [false, true]) {
    const found: number[] = [];
    let [from, to] = [0, total];
    for (let page = 0; page < 1000; page += 1) {
      const filter = { types: ["user.message"], includePlatform: false };
      const answer = await selectPage(store, hot, { from, to, descending, filter, limit: 7, maxScanned: 10 }, signal);
      found.push(...answer.events.map((event) => Number(event.position)));
      if (answer.next === undefined) break;
      if (descending) to = answer.next;
      else from = answer.next;
    }
    const wanted = Array.from({ length: total }, (_, n) => n).filter((n) => n > 0 && n % 3 === 0);
    expect(found).toEqual(descending ? wanted.reverse() : wanted);
  }
});

it("finds an event by id far outside the window of recent ids", async () => {
  const { store, hot } = await sessionOf(Array.from({ length: 300 }, () => 3));
  const found = replicaOver(store);
  expect(await findPosition(found, hot, "sevt_17")).toBe(17);
  await expect(findPosition(found, hot, "sevt_none")).rejects.toMatchObject({ kind: "notFound" });
});

it("tells a deleted session from damage when frames are gone", async () => {
  const { store, hot, total } = await sessionOf([1, 1, 1, 1]);
  const holed: EventStore = {
    ...store,
    read: async (id, frames) => (await store.read(id, frames)).filter((one) => one.frame !== 2),
  };
  await expect(positions(holed, hot, 0, total, false)).rejects.toMatchObject({ kind: "unavailable" });
  const lost: EventStore = {
    ...holed,
    readFromLeader: async (id, frame, ms) => (frame === 2 ? undefined : store.readFromLeader(id, frame, ms)),
  };
  await expect(positions(lost, hot, 0, total, false)).rejects.toMatchObject({ reason: "LOG_DAMAGED" });
  await store.purge("sesn_r");
  await expect(positions(store, hot, 0, total, false)).rejects.toMatchObject({ kind: "notFound" });
});

it("bounds hot sessions by number and by ids", async () => {
  const store = createMemoryEventStore();
  const cache = createSessionCache({ store, startOf: () => undefined, maxSessions: 50, maxIds: 20 });
  const { recall, blobs } = replicaOver(store);
  const log = createSessionLog({ store, cache, recall, blobs, clock: systemClock, onStored: () => undefined });
  for (let n = 0; n < 100; n += 1) await log.create(`sesn_${n}`, append(created()), within());
  expect(cache.size()).toBeLessThanOrEqual(50);
  for (let n = 0; n < 200; n += 1) await cache.current(`sesn_${n % 100}`);
  expect(cache.size()).toBeLessThanOrEqual(50);
});
