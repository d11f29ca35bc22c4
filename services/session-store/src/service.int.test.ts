import { create } from "@bufbuild/protobuf";
import { EventSchema, SessionStatus } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  agentMessage,
  collect,
  idle,
  json,
  newSession,
  startStore,
  testConfig,
  textOf,
  userMessage,
  woken,
  workspaceId,
} from "./testing/service.ts";

let server: NatsServer;
let store: Awaited<ReturnType<typeof startStore>>;

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  store = await startStore(testConfig(server));
});

afterAll(async () => {
  await store.stop();
  await server.stop();
});

const emit = (sessionId: string, ...events: ReturnType<typeof userMessage>[]) =>
  store.sessions.emitEvents({ sessionId, events });

describe("bad input", () => {
  it("names every field and rule, and the service stays up", async () => {
    await expect(store.sessions.createSession({})).rejects.toMatchObject({
      kind: "invalid",
      details: { fieldViolations: [{ field: "workspace_id", description: "is required" }] },
    });
    await expect(
      store.sessions.createSession({
        workspaceId: "a.b",
        title: "x".repeat(257),
        vaultIds: ["nope"],
        sessionId: "sesn_>",
      }),
    ).rejects.toMatchObject({
      details: {
        fieldViolations: [
          { field: "workspace_id" },
          { field: "title" },
          { field: "session_id" },
          { field: "vault_ids[0]" },
        ],
      },
    });
    await expect(
      store.sessions.createSession({ workspaceId, agentJson: json([]), environmentJson: json({}) }),
    ).rejects.toMatchObject({ details: { fieldViolations: [{ field: "agent_json" }] } });
  });

  it("answers NOT_FOUND for unknown sessions and those of other workspaces", async () => {
    await expect(store.sessions.getSession({ workspaceId, sessionId: "sesn_none" })).rejects.toMatchObject({
      kind: "notFound",
    });
    const sessionId = await newSession(store.sessions);
    const other = { workspaceId: "wrkspc_other", sessionId };
    await expect(store.sessions.getSession(other)).rejects.toMatchObject({ kind: "notFound" });
    await expect(store.sessions.getEvents(other)).rejects.toMatchObject({ kind: "notFound" });
    await expect(store.sessions.emitEvents({ ...other, events: [userMessage("x")] })).rejects.toMatchObject({
      kind: "notFound",
    });
    await expect(store.sessions.archiveSession(other)).rejects.toMatchObject({ kind: "notFound" });
    await expect(store.sessions.deleteSession(other)).rejects.toMatchObject({ kind: "notFound" });
    const watch = collect((signal) => store.sessions.watchEvents(other, { signal }));
    expect(await watch.ended).toMatchObject({ kind: "notFound" });
  });

  it("refuses frames that are empty, too many, too large, or hold what their sender may not send", async () => {
    const sessionId = await newSession(store.sessions);
    await expect(store.sessions.emitEvents({ sessionId })).rejects.toMatchObject({
      details: { fieldViolations: [{ field: "events", description: "must hold 1 to 64 events, holds 0" }] },
    });
    const many = Array.from({ length: 65 }, (_, n) => userMessage(String(n)));
    await expect(emit(sessionId, ...many)).rejects.toMatchObject({ kind: "invalid" });
    await expect(emit(sessionId, userMessage("x".repeat(600_000)))).rejects.toMatchObject({
      reason: "TOO_LARGE",
      details: { metadata: { limit: "524288" } },
    });
    await expect(
      store.sessions.emitEvents({ workspaceId, sessionId, events: [agentMessage("I am the model")] }),
    ).rejects.toMatchObject({ details: { fieldViolations: [{ field: "events[0].type" }] } });
    const wrong = create(EventSchema, { type: "user.message", payload: { case: "userInterrupt", value: {} } });
    await expect(emit(sessionId, wrong)).rejects.toMatchObject({
      details: { fieldViolations: [{ field: "events[0].payload" }] },
    });
    await expect(emit(sessionId, userMessage("x", "bad id"))).rejects.toMatchObject({
      details: { fieldViolations: [{ field: "events[0].id" }] },
    });
    expect((await store.sessions.getSession({ sessionId })).session?.headPosition).toBe(1n);
  });
});

describe("sessions", () => {
  it("tells where the newest checkpoint stands, so that no one has to look for it", async () => {
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
    const slice = { case: "range", value: { from: session?.checkpointPosition ?? 0n } } as const;
    const { events } = await store.sessions.getEvents({ sessionId, slice, includePlatform: true });
    expect(events.map((event) => event.type)).toEqual(["context.checkpointed", "agent.message"]);
  });

  it("creates with initial events in one frame and derives the header", async () => {
    const sessionId = await newSession(store.sessions, {
      title: "t",
      metadata: { a: "1" },
      initialEvents: [userMessage("hi")],
    });
    const { session } = await store.sessions.getSession({ workspaceId, sessionId });
    expect(session).toMatchObject({
      id: sessionId,
      workspaceId,
      title: "t",
      metadata: { a: "1" },
      status: SessionStatus.RUNNING,
      headPosition: 2n,
      epoch: 0n,
      harnessKind: "default",
    });
  });

  it("answers the same request id with the same session, and another content with ID_REUSED", async () => {
    const request = { workspaceId, requestId: "req-1", agentJson: json({ id: "a" }), environmentJson: json({}) };
    const [first, second] = await Promise.all([
      store.sessions.createSession(request),
      store.sessions.createSession(request),
    ]);
    expect(second.session?.id).toBe(first.session?.id);
    await expect(store.sessions.createSession({ ...request, title: "other" })).rejects.toMatchObject({
      reason: "ID_REUSED",
    });
  });

  it("updates only what changes, and archives when idle only", async () => {
    const sessionId = await newSession(store.sessions, { metadata: { a: "1", b: "2" } });
    await store.sessions.updateSession({ workspaceId, sessionId, title: "new", metadata: { a: "" } });
    const again = await store.sessions.updateSession({ workspaceId, sessionId, title: "new", metadata: { a: "" } });
    expect(again.session).toMatchObject({ title: "new", metadata: { b: "2" }, headPosition: 2n });
    await emit(sessionId, userMessage("go"));
    await expect(store.sessions.archiveSession({ workspaceId, sessionId })).rejects.toMatchObject({
      reason: "SESSION_RUNNING",
    });
    await emit(sessionId, idle());
    const { session } = await store.sessions.archiveSession({ workspaceId, sessionId });
    expect(session?.archivedAt).toBeDefined();
    await store.sessions.archiveSession({ workspaceId, sessionId });
    await expect(emit(sessionId, userMessage("late"))).rejects.toMatchObject({ reason: "SESSION_CLOSED" });
  });

  it("deletes: watchers end, events are gone, the id is never used again", async () => {
    const sessionId = await newSession(store.sessions);
    await emit(sessionId, agentMessage("a"), agentMessage("b"));
    const watch = collect((signal) =>
      store.sessions.watchEvents({ sessionId, start: { case: "fromPosition", value: 0n } }, { signal }),
    );
    await eventually(() => watch.cases().includes("caughtUp"));
    expect(await store.sessions.deleteSession({ workspaceId, sessionId })).toMatchObject({ framesRemoved: 2n });
    expect(await watch.ended).toBeUndefined();
    expect(watch.events().map((event) => event.type)).toEqual(["agent.message", "agent.message", "session.deleted"]);
    await expect(store.sessions.getSession({ sessionId })).rejects.toMatchObject({ kind: "notFound" });
    await expect(emit(sessionId, userMessage("x"))).rejects.toMatchObject({ kind: "notFound" });
    await expect(newSession(store.sessions, { sessionId })).rejects.toMatchObject({ reason: "ID_REUSED" });
    const { sessions } = await store.sessions.listSessions({ workspaceId, pageSize: 1000 });
    expect(sessions.map((session) => session.id)).not.toContain(sessionId);
  });

  it("lists newest first, pages both ways, filters, and sees what was just created", async () => {
    const own = "wrkspc_list";
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1) ids.push(await newSession(store.sessions, { workspaceId: own, title: String(n) }));
    await store.sessions.emitEvents({ sessionId: ids[1] ?? "", events: [userMessage("go")] });
    const page1 = await store.sessions.listSessions({ workspaceId: own, pageSize: 2 });
    expect(page1.sessions.map((one) => one.title)).toEqual(["4", "3"]);
    expect(page1.previousPageToken).toBe("");
    const page2 = await store.sessions.listSessions({ workspaceId: own, pageSize: 2, pageToken: page1.nextPageToken });
    expect(page2.sessions.map((one) => one.title)).toEqual(["2", "1"]);
    const back = await store.sessions.listSessions({
      workspaceId: own,
      pageSize: 2,
      pageToken: page2.previousPageToken,
    });
    expect(back.sessions.map((one) => one.title)).toEqual(["4", "3"]);
    const running = await store.sessions.listSessions({ workspaceId: own, statuses: [SessionStatus.RUNNING] });
    expect(running.sessions.map((one) => one.title)).toEqual(["1"]);
    await expect(
      store.sessions.listSessions({ workspaceId: own, ascending: true, pageToken: page1.nextPageToken }),
    ).rejects.toMatchObject({ details: { fieldViolations: [{ field: "page_token" }] } });
  });
});

describe("appending", () => {
  it("checks the expected position and tells the head", async () => {
    const sessionId = await newSession(store.sessions);
    const events = [agentMessage("a")];
    expect(await store.sessions.emitEvents({ sessionId, events, expectedPosition: 1n })).toMatchObject({
      headPosition: 2n,
      duplicate: false,
      events: [{ position: 1n }],
    });
    for (const expectedPosition of [1n, 9n]) {
      await expect(
        store.sessions.emitEvents({ sessionId, events: [agentMessage("b")], expectedPosition }),
      ).rejects.toMatchObject({
        kind: "conflict",
        reason: "POSITION_CONFLICT",
        details: { metadata: { head_position: "2" } },
      });
    }
  });

  it("answers a repeated request id and repeated event ids with what is there", async () => {
    const sessionId = await newSession(store.sessions);
    const request = { sessionId, requestId: "r1", events: [userMessage("once")] };
    const first = await store.sessions.emitEvents(request);
    const second = await store.sessions.emitEvents({ ...request, events: [userMessage("once")], expectedPosition: 1n });
    expect(second).toMatchObject({ duplicate: true, events: [{ id: first.events[0]?.id, position: 1n }] });
    await expect(store.sessions.emitEvents({ ...request, events: [userMessage("else")] })).rejects.toMatchObject({
      reason: "ID_REUSED",
    });
    const withId = () => userMessage("mine", "sevt_client1");
    await emit(sessionId, withId());
    expect(await emit(sessionId, withId())).toMatchObject({ duplicate: true, headPosition: 3n });
    expect(await emit(sessionId, userMessage("new"), withId())).toMatchObject({
      duplicate: false,
      headPosition: 4n,
      events: [{ position: 3n }, { id: "sevt_client1", position: 2n }],
    });
    await expect(emit(sessionId, userMessage("other", "sevt_client1"))).rejects.toMatchObject({ reason: "ID_REUSED" });
  });

  it("fences older epochs and tells the newest", async () => {
    const sessionId = await newSession(store.sessions);
    await store.sessions.emitEvents({ sessionId, events: [woken(1)], epoch: 1n, expectedPosition: 1n });
    await store.sessions.emitEvents({ sessionId, events: [agentMessage("one")], epoch: 1n });
    await store.sessions.emitEvents({ sessionId, events: [woken(2)], epoch: 2n });
    for (const [epoch, event] of [
      [1n, agentMessage("zombie")],
      [1n, woken(1)],
      [2n, woken(2)],
      [9n, agentMessage("z")],
    ] as const) {
      await expect(store.sessions.emitEvents({ sessionId, events: [event], epoch })).rejects.toMatchObject({
        kind: "fenced",
        reason: "FENCED",
        details: { metadata: { epoch: "2" } },
      });
    }
    await emit(sessionId, userMessage("clients are not fenced"));
    expect((await store.sessions.getSession({ sessionId })).session).toMatchObject({ epoch: 2n, headPosition: 5n });
  });

  it("lets every one of many writers through exactly once, without a gap", async () => {
    const sessionId = await newSession(store.sessions);
    const writers = Array.from({ length: 40 }, (_, n) => emit(sessionId, agentMessage(`w${n}`)));
    const positions = (await Promise.all(writers)).map((answer) => Number(answer.events[0]?.position));
    expect(positions.sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, n) => n + 1));
  });

  it("lets exactly one of many writers of the same position win", async () => {
    const sessionId = await newSession(store.sessions);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) =>
        store.sessions.emitEvents({ sessionId, events: [agentMessage(`w${n}`)], expectedPosition: 1n }),
      ),
    );
    expect(outcomes.filter((one) => one.status === "fulfilled")).toHaveLength(1);
  });
});

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
});

describe("watching", () => {
  it("sends history, the marker, then live, without gap or duplicate while writers write", async () => {
    const sessionId = await newSession(store.sessions);
    const writing = (async () => {
      for (let n = 0; n < 150; n += 1) await emit(sessionId, agentMessage(`${n}`));
    })();
    const watches = [0n, 1n, 20n].map((from) =>
      collect((signal) =>
        store.sessions.watchEvents({ sessionId, start: { case: "fromPosition", value: from } }, { signal }),
      ),
    );
    await writing;
    for (const [index, watch] of watches.entries()) {
      const first = [0, 0, 19][index] ?? 0;
      await eventually(() => textOf(watch.events().at(-1) ?? idle()) === "149");
      expect(watch.events().map(textOf)).toEqual(Array.from({ length: 150 - first }, (_, n) => String(n + first)));
      expect(watch.cases().filter((one) => one === "caughtUp")).toHaveLength(1);
      watch.stop();
    }
  });

  it("goes on after an event id, hides platform events unless asked, and beats", async () => {
    const sessionId = await newSession(store.sessions);
    const { events } = await emit(sessionId, agentMessage("a"), agentMessage("b"));
    const watch = collect((signal) =>
      store.sessions.watchEvents(
        { sessionId, start: { case: "afterEventId", value: events[0]?.id ?? "" }, heartbeatMs: 1000 },
        { signal },
      ),
    );
    await store.sessions.emitEvents({ sessionId, events: [woken(1), agentMessage("c")], epoch: 1n });
    await eventually(() => watch.cases().includes("heartbeat"));
    expect(watch.events().map(textOf)).toEqual(["b", "c"]);
    watch.stop();
    const platform = collect((signal) =>
      store.sessions.watchEvents(
        { sessionId, start: { case: "fromPosition", value: 0n }, includePlatform: true },
        { signal },
      ),
    );
    await eventually(() => platform.cases().includes("caughtUp"));
    expect(platform.events().map((event) => event.type)).toEqual([
      "session.created",
      "agent.message",
      "agent.message",
      "brain.woken",
      "agent.message",
    ]);
    platform.stop();
    const ahead = collect((signal) =>
      store.sessions.watchEvents({ sessionId, start: { case: "fromPosition", value: 99n } }, { signal }),
    );
    await eventually(() => ahead.cases().includes("caughtUp"));
    expect(ahead.items[0]?.item.value).toMatchObject({ headPosition: 5n });
    ahead.stop();
    const missing = collect((signal) =>
      store.sessions.watchEvents({ sessionId, start: { case: "afterEventId", value: "sevt_no" } }, { signal }),
    );
    expect(await missing.ended).toMatchObject({ kind: "notFound" });
  });
});
