import { create } from "@bufbuild/protobuf";
import { EventSchema } from "@manyhands/protocol";
import { describe, expect, it } from "vitest";
import { agentMessage, json, newSession, textOf, userMessage, workspaceId } from "../testing/service.ts";
import { storeUnderTest } from "../testing/store-under-test.ts";

const { store, emit } = storeUnderTest();

describe("reading", () => {
  const texts = async (sessionId: string, query: object) => {
    const all: string[] = [];
    let pageToken = "";
    do {
      const page = await store.sessions.getEvents({ sessionId, ...query, pageToken });
      all.push(...page.events.map(textOf));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return all;
  };

  it("answers every form of slice", async () => {
    const sessionId = await newSession(store.sessions);
    for (let n = 1; n <= 30; n += 1) await emit(sessionId, agentMessage(`${n}`));
    const count = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => String(from + n));
    expect(await texts(sessionId, {})).toEqual(count(1, 30));
    expect(await texts(sessionId, { pageSize: 7 })).toEqual(count(1, 30));
    expect(await texts(sessionId, { pageSize: 7, descending: true })).toEqual(count(1, 30).reverse());
    expect(await texts(sessionId, { slice: { case: "range", value: { from: 5n, to: 9n } } })).toEqual(count(5, 8));
    expect(await texts(sessionId, { slice: { case: "last", value: 3 } })).toEqual(count(28, 30));
    expect(await texts(sessionId, { slice: { case: "beforePosition", value: 4n }, includePlatform: true })).toEqual([
      "3",
      "2",
      "1",
      "session.created",
    ]);
    const middle = (
      await store.sessions.getEvents({ sessionId, slice: { case: "range", value: { from: 15n, to: 16n } } })
    ).events[0];
    const around = { eventId: middle?.id ?? "", before: 2, after: 1 };
    expect(await texts(sessionId, { slice: { case: "around", value: around } })).toEqual(["13", "14", "15", "16"]);
    const first = (await store.sessions.getEvents({ sessionId, types: ["session.created"] })).events[0];
    const hidden = { eventId: first?.id ?? "", before: 5, after: 2 };
    expect(await texts(sessionId, { slice: { case: "around", value: hidden } })).toEqual(["1", "2"]);
    expect(await texts(sessionId, { types: ["session.created"] })).toEqual(["session.created"]);
    expect(await texts(sessionId, { createdFrom: { seconds: 4_000_000_000n, nanos: 0 } })).toEqual([]);
  });

  it("refuses tokens of other queries and slices that contradict themselves", async () => {
    const sessionId = await newSession(store.sessions);
    await emit(sessionId, agentMessage("a"), agentMessage("b"));
    const { nextPageToken } = await store.sessions.getEvents({ sessionId, pageSize: 1 });
    expect(nextPageToken).not.toBe("");
    const bad = { kind: "invalid", details: { fieldViolations: [{ field: "page_token" }] } };
    await expect(
      store.sessions.getEvents({ sessionId, descending: true, pageToken: nextPageToken }),
    ).rejects.toMatchObject(bad);
    await expect(store.sessions.getEvents({ sessionId, pageToken: "garbage" })).rejects.toMatchObject(bad);
    await expect(
      store.sessions.getEvents({ sessionId, slice: { case: "range", value: { from: 5n, to: 2n } } }),
    ).rejects.toMatchObject({ details: { fieldViolations: [{ field: "range.to" }] } });
    await expect(
      store.sessions.getEvents({ sessionId, slice: { case: "around", value: { eventId: "sevt_no" } } }),
    ).rejects.toMatchObject({ kind: "notFound" });
  });

  it("keeps events of types it does not know, with their unknown fields", async () => {
    const sessionId = await newSession(store.sessions);
    const event = create(EventSchema, { type: "future.thing" });
    event.$unknown = [{ no: 999, wireType: 2, data: new Uint8Array([2, 104, 105]) }];
    await emit(sessionId, event);
    const { events } = await store.sessions.getEvents({ sessionId, types: ["future.thing"] });
    const [unknown] = events[0]?.$unknown ?? [];
    expect({ ...unknown, data: [...(unknown?.data ?? [])] }).toEqual({ no: 999, wireType: 2, data: [2, 104, 105] });
  });

  it("tells where the newest checkpoint stands, and reads from it on", async () => {
    const sessionId = await newSession(store.sessions);
    const checkpoint = (position: number) =>
      create(EventSchema, {
        type: "context.checkpointed",
        payload: {
          case: "contextCheckpointed",
          value: { upToPosition: BigInt(position), foldVersion: 1, stateJson: json({ n: position }) },
        },
      });
    expect((await store.sessions.getSession({ sessionId })).session?.checkpointPosition).toBeUndefined();
    await emit(sessionId, userMessage("a"), checkpoint(2), agentMessage("b"), checkpoint(4), agentMessage("c"));
    const { session } = await store.sessions.getSession({ sessionId });
    expect(session?.checkpointPosition).toBe(4n);
    const slice = { case: "fromCheckpoint", value: true } as const;
    const { events } = await store.sessions.getEvents({ sessionId, slice, includePlatform: true });
    expect(events.map((event) => event.type)).toEqual(["context.checkpointed", "agent.message"]);
    const fork = await store.sessions.forkSession({ workspaceId, sessionId, atPosition: 6n });
    const forked = { sessionId: fork.session?.id ?? "", slice, includePlatform: true };
    expect((await store.sessions.getEvents(forked)).events).toHaveLength(7); // none of its own yet: the whole log
    await expect(
      store.sessions.getEvents({ sessionId, slice: { case: "fromCheckpoint", value: false } }),
    ).rejects.toMatchObject({ details: { fieldViolations: [{ field: "from_checkpoint" }] } });
  });
});
