import { create } from "@bufbuild/protobuf";
import { EventSchema } from "@manyhands/protocol";
import { expect, it } from "vitest";
import { createHotSession } from "../log/hot-session.ts";
import { recentFrames } from "../log/recent-ids.ts";
import type { EventStore } from "../store/event-store.ts";
import { createMemoryEventStore } from "../store/memory-event-store.ts";
import { createMemorySideStore } from "../store/memory-side-store.ts";
import type { SideKey, SideStore } from "../store/side-store.ts";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { agentMessage, userMessage } from "../testing/service.ts";
import { decodeSegment, encodeSegment, eventKey, framesPerSegment, idsOfFrame, requestKey } from "./id-segment.ts";
import { createRecall } from "./recall.ts";

const long = recentFrames + framesPerSegment + 60;
const once = () => ({ events: [userMessage("once", "sevt_once")], requestId: "r_once", epoch: 0 });
const ids = (segment: number): SideKey => ({ kind: "ids", segment });

/** A session that took a request right after its creation, and far more frames since. */
async function longAgo(store: EventStore, side: SideStore, sessionId: string) {
  const replica = replicaOver(store, side);
  await replica.log.create(sessionId, append(created()), within());
  await replica.log.append(sessionId, once(), within());
  for (let n = 0; n < long; n += 1)
    await replica.log.append(sessionId, append(agentMessage(`${n}`, `sevt_${n}`)), within());
  await replica.recall.settled();
  return replica;
}

it("answers a repeat of a request and of an event id far outside the window, on the same and on a new replica", async () => {
  const [store, side] = [createMemoryEventStore(), createMemorySideStore()];
  const writer = await longAgo(store, side, "sesn_old");
  for (const { log } of [writer, replicaOver(store, side)]) {
    const again = await log.append("sesn_old", once(), within());
    expect(again).toMatchObject({ duplicate: true, events: [{ position: 1n }], headPosition: long + 2 });
    const byEvent = await log.append("sesn_old", { ...once(), requestId: "other" }, within());
    expect(byEvent).toMatchObject({ duplicate: true, events: [{ position: 1n }] });
    const other = { ...once(), events: [userMessage("something else", "sevt_once")] };
    await expect(log.append("sesn_old", other, within())).rejects.toMatchObject({ reason: "ID_REUSED" });
  }
});

it("makes segments of the newest frames without reading them back", async () => {
  const [memory, side] = [createMemoryEventStore(), createMemorySideStore()];
  const read: number[] = [];
  const store: EventStore = {
    ...memory,
    read: (sessionId, frames) => {
      read.push(...frames);
      return memory.read(sessionId, frames);
    },
  };
  await longAgo(store, side, "sesn_new");
  expect(read).toEqual([]);
  const made = await side.read("sesn_new", [ids(0), ids(1), ids(2)]);
  expect(made.map((bytes) => decodeSegment(bytes ?? new Uint8Array())?.length)).toEqual([129, 128, 128]);
});

it("makes again what was never made, was lost or is garbage, and says the same", async () => {
  const store = createMemoryEventStore();
  await longAgo(store, createMemorySideStore(), "sesn_lost");
  const [empty, garbage] = [createMemorySideStore(), createMemorySideStore()];
  await garbage.create("sesn_lost", { key: ids(0), bytes: new Uint8Array([99, 1, 2]) });
  for (const side of [empty, garbage]) {
    const { log } = replicaOver(store, side);
    expect(await log.append("sesn_lost", once(), within())).toMatchObject({ duplicate: true });
  }
  expect(decodeSegment((await empty.read("sesn_lost", [ids(0)]))[0] ?? new Uint8Array())).not.toHaveLength(0);
});

it("does not answer with a frame whose hash only looks right", async () => {
  const [store, side] = [createMemoryEventStore(), createMemorySideStore()];
  const lying = encodeSegment([{ requestId: "r_new", eventIds: ["sevt_new"] }]);
  await side.create("sesn_hash", { key: ids(0), bytes: lying });
  const { log } = await longAgo(store, side, "sesn_hash");
  const fresh = { events: [userMessage("new", "sevt_new")], requestId: "r_new", epoch: 0 };
  expect(await log.append("sesn_hash", fresh, within())).toMatchObject({ duplicate: false });
});

it("asks nothing beside the log for a short session, a brain, or ids made here", async () => {
  const deaf: SideStore = { ...createMemorySideStore(), read: () => Promise.reject(new Error("asked")) };
  const recall = createRecall({ side: deaf, readWhole: () => Promise.reject(new Error("read")) });
  const hot = createHotSession("sesn_q");
  const events = [{ id: "sevt_1" }];
  await recall.idsFor(hot, { requestId: "r", events, epoch: 0 });
  hot.nextFrame = 100_000;
  await recall.idsFor(hot, { requestId: "r", events, epoch: 4 });
  await recall.idsFor(hot, { requestId: "", events, epoch: 0, mayRepeat: false });
  await expect(recall.idsFor(hot, { requestId: "r", events, epoch: 0 })).rejects.toThrow("asked");
});

it("packs only what no brain wrote", () => {
  const event = (id: string, epoch: bigint) => create(EventSchema, { id, epoch });
  const bytes = encodeSegment([
    idsOfFrame("r0", [event("a", 0n)]),
    idsOfFrame("r1", [event("b", 3n)]),
    idsOfFrame("", [event("c", 0n)]),
  ]);
  expect(decodeSegment(bytes)).toEqual([
    { key: requestKey("r0"), offset: 0 },
    { key: eventKey("a"), offset: 0 },
    { key: eventKey("c"), offset: 2 },
  ]);
  expect(decodeSegment(bytes.subarray(0, bytes.length - 1))).toBeUndefined();
});
