import { SessionStatus } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allEvents, fork } from "./testing/carry.ts";
import {
  agentMessage,
  collect,
  idle,
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

/** A session whose frames hold one, three, three and one events after its first: head 9. */
async function origin(): Promise<string> {
  const sessionId = await newSession(store.sessions, { title: "the first" });
  await emit(sessionId, userMessage("u1", "sevt_u1"));
  await emit(sessionId, agentMessage("a2"), agentMessage("a3", "sevt_a3"), agentMessage("a4"));
  await emit(sessionId, agentMessage("a5"), agentMessage("a6"), agentMessage("a7"));
  await emit(sessionId, idle());
  return sessionId;
}

describe("forking", () => {
  it("shares what is below the point, between frames, inside one and at the head", async () => {
    const sessionId = await origin();
    const whole = await allEvents(store.sessions, sessionId);
    for (let at = 1; at <= whole.length; at += 1) {
      const forkId = await fork(store.sessions, sessionId, at);
      await emit(forkId, agentMessage("own"));
      const events = await allEvents(store.sessions, forkId);
      expect(events.slice(0, at)).toEqual(whole.slice(0, at));
      expect(events.slice(at).map(textOf)).toEqual(["session.forked", "own"]);
      expect(events.map((event) => Number(event.position))).toEqual(events.map((_, position) => position));
      expect(await store.sessions.verifySession({ workspaceId, sessionId: forkId })).toMatchObject({
        intact: true,
        problem: "",
        headPosition: BigInt(events.length),
      });
    }
    expect(await allEvents(store.sessions, sessionId)).toEqual(whole);
  });

  it("starts idle with the origin's present setup, from running too, and takes appends and brains of its own", async () => {
    const sessionId = await newSession(store.sessions, { title: "before", metadata: { a: "1" } });
    await store.sessions.emitEvents({ sessionId, events: [woken(1)], epoch: 1n });
    await emit(sessionId, userMessage("work"));
    await store.sessions.updateSession({ workspaceId, sessionId, title: "after" });
    const { session } = await store.sessions.forkSession({ workspaceId, sessionId, atPosition: 3n });
    expect(session).toMatchObject({
      workspaceId,
      status: SessionStatus.IDLE,
      title: "after",
      metadata: { a: "1" },
      headPosition: 4n,
      epoch: 1n,
      origin: { sessionId, position: 3n },
      handIds: [],
    });
    const forkId = session?.id ?? "";
    expect((await store.sessions.getSession({ workspaceId, sessionId: forkId })).session).toEqual(session);
    expect((await store.sessions.getSession({ workspaceId, sessionId })).session?.status).toBe(SessionStatus.RUNNING);
    await emit(forkId, userMessage("other"));
    await store.sessions.emitEvents({ sessionId: forkId, events: [woken(2)], epoch: 2n });
    await expect(
      store.sessions.emitEvents({ sessionId: forkId, events: [agentMessage("late")], epoch: 1n }),
    ).rejects.toMatchObject({ reason: "FENCED" });
    const list = await store.sessions.listSessions({ workspaceId, pageSize: 1000 });
    expect(list.sessions.find((one) => one.id === forkId)).toMatchObject({ status: SessionStatus.RUNNING, epoch: 2n });
  });

  it("reads every form of slice, and finds events by id, across the point", async () => {
    const sessionId = await origin();
    const forkId = await fork(store.sessions, sessionId, 6);
    await emit(forkId, agentMessage("f7"), agentMessage("f8", "sevt_f8"));
    const texts = async (slice: object) => {
      const { events } = await store.sessions.getEvents({ sessionId: forkId, includePlatform: true, ...slice });
      return events.map(textOf);
    };
    const around = { eventId: "sevt_a3", before: 1, after: 4 };
    expect(await texts({ slice: { case: "last", value: 4 } })).toEqual(["a5", "session.forked", "f7", "f8"]);
    expect(await texts({ slice: { case: "range", value: { from: 4n, to: 8n } } })).toEqual([
      "a4",
      "a5",
      "session.forked",
      "f7",
    ]);
    expect(await texts({ slice: { case: "beforePosition", value: 7n }, pageSize: 3 })).toEqual([
      "session.forked",
      "a5",
      "a4",
    ]);
    expect(await texts({ slice: { case: "around", value: around } })).toEqual([
      "a2",
      "a3",
      "a4",
      "a5",
      "session.forked",
      "f7",
    ]);
    expect(await texts({ descending: true, pageSize: 2 })).toEqual(["f8", "f7"]);
    expect((await allEvents(store.sessions, forkId, 2)).length).toBe(9);
  });

  it("knows the event ids of the shared part, and not its request ids", async () => {
    const sessionId = await newSession(store.sessions);
    const shared = { sessionId, events: [userMessage("once", "sevt_once")], requestId: "r1" };
    await store.sessions.emitEvents(shared);
    const forkId = await fork(store.sessions, sessionId, 2);
    const again = await store.sessions.emitEvents({ sessionId: forkId, events: [userMessage("once", "sevt_once")] });
    expect(again).toMatchObject({ duplicate: true, events: [{ position: 1n }] });
    const own = { sessionId: forkId, events: [userMessage("other", "sevt_other")], requestId: "r1" };
    expect(await store.sessions.emitEvents(own)).toMatchObject({ duplicate: false, events: [{ position: 3n }] });
    expect(await store.sessions.emitEvents(own)).toMatchObject({ duplicate: true, events: [{ position: 3n }] });
  });

  it("watches from before the point into the fork's own future", async () => {
    const sessionId = await origin();
    const forkId = await fork(store.sessions, sessionId, 5);
    const watch = collect((signal) =>
      store.sessions.watchEvents(
        { sessionId: forkId, start: { case: "fromPosition", value: 3n }, includePlatform: true },
        { signal },
      ),
    );
    await eventually(() => watch.cases().includes("caughtUp"));
    await emit(sessionId, agentMessage("not mine"));
    await emit(forkId, agentMessage("mine"));
    await eventually(() => watch.events().length === 4);
    watch.stop();
    expect(watch.events().map(textOf)).toEqual(["a3", "a4", "session.forked", "mine"]);
  });

  it("forks forks, and reads them on a replica that knows nothing yet", async () => {
    const first = await origin();
    const second = await fork(store.sessions, first, 6);
    await emit(second, agentMessage("second"));
    const third = await fork(store.sessions, second, 8);
    await emit(third, agentMessage("third"));
    const below = await fork(store.sessions, third, 3);
    const other = await startStore(testConfig(server));
    const texts = async (id: string) => (await allEvents(other.sessions, id)).map(textOf).slice(1);
    const shared = ["u1", "a2", "a3", "a4", "a5", "session.forked", "second"];
    expect(await texts(third)).toEqual([...shared, "session.forked", "third"]);
    expect(await texts(below)).toEqual(["u1", "a2", "session.forked"]);
    for (const sessionId of [second, third, below]) {
      expect(await other.sessions.verifySession({ sessionId })).toMatchObject({ intact: true });
    }
    await other.sessions.emitEvents({ sessionId: third, events: [agentMessage("from the other replica")] });
    expect((await allEvents(store.sessions, third)).map(textOf).at(-1)).toBe("from the other replica");
    await other.stop();
  });

  it("answers a repeated request with the same fork, and refuses its id for another point", async () => {
    const sessionId = await origin();
    const request = { workspaceId, sessionId, atPosition: 4n, requestId: "fork-1" };
    const made = await store.sessions.forkSession(request);
    expect((await store.sessions.forkSession(request)).session).toEqual(made.session);
    await expect(store.sessions.forkSession({ ...request, atPosition: 5n })).rejects.toMatchObject({
      reason: "ID_REUSED",
    });
  });

  it("refuses points outside the log and sessions of others, and forks archived ones into living ones", async () => {
    const sessionId = await origin();
    for (const atPosition of [0n, 10n]) {
      await expect(store.sessions.forkSession({ workspaceId, sessionId, atPosition })).rejects.toMatchObject({
        details: { fieldViolations: [{ field: "at_position", description: "must be 1 to the head, 9" }] },
      });
    }
    const foreign = { workspaceId: "wrkspc_other", sessionId, atPosition: 1n };
    await expect(store.sessions.forkSession(foreign)).rejects.toMatchObject({ kind: "notFound" });
    await expect(store.sessions.verifySession(foreign)).rejects.toMatchObject({ kind: "notFound" });
    await store.sessions.archiveSession({ workspaceId, sessionId });
    const { session } = await store.sessions.forkSession({ workspaceId, sessionId, atPosition: 10n });
    expect(session?.archivedAt).toBeUndefined();
    await emit(session?.id ?? "", userMessage("go on"));
  });

  it("keeps a session that has forks until they are deleted", async () => {
    const sessionId = await origin();
    const forkId = await fork(store.sessions, sessionId, 9);
    const deeper = await fork(store.sessions, forkId, 10);
    await expect(store.sessions.deleteSession({ workspaceId, sessionId })).rejects.toMatchObject({
      reason: "SESSION_FORKED",
      details: { metadata: { fork_ids: forkId } },
    });
    await expect(store.sessions.deleteSession({ workspaceId, sessionId: forkId })).rejects.toMatchObject({
      details: { metadata: { fork_ids: deeper } },
    });
    for (const id of [deeper, forkId, sessionId]) await store.sessions.deleteSession({ workspaceId, sessionId: id });
    await expect(store.sessions.getEvents({ sessionId: forkId })).rejects.toMatchObject({ kind: "notFound" });
    await expect(store.sessions.verifySession({ sessionId: forkId })).rejects.toMatchObject({ kind: "notFound" });
  });

  it("leaves no fork without its history when its origin is deleted in the same instant, by another replica", async () => {
    const other = await startStore(testConfig(server));
    for (let round = 0; round < 15; round += 1) {
      const sessionId = await origin();
      const [forking, deleting] = await Promise.allSettled([
        fork(store.sessions, sessionId, 6),
        other.sessions.deleteSession({ workspaceId, sessionId }),
      ]);
      if (forking.status === "rejected") {
        expect(forking.reason).toMatchObject({ kind: "notFound" });
        expect(deleting.status).toBe("fulfilled");
        continue;
      }
      if (deleting.status === "rejected") expect(deleting.reason).toMatchObject({ reason: "SESSION_FORKED" });
      expect(await other.sessions.verifySession({ sessionId: forking.value })).toMatchObject({ intact: true });
      expect(await allEvents(store.sessions, forking.value)).toHaveLength(7);
    }
    await other.stop();
  });

  it("refuses the sixty-fifth fork in a row", async () => {
    let sessionId = await newSession(store.sessions);
    for (let depth = 1; depth <= 63; depth += 1) sessionId = await fork(store.sessions, sessionId, depth);
    const deepest = await fork(store.sessions, sessionId, 64).catch((error: unknown) => error);
    const last = typeof deepest === "string" ? deepest : sessionId;
    expect((await allEvents(store.sessions, last)).length).toBeGreaterThanOrEqual(64);
    expect(await store.sessions.verifySession({ sessionId: last })).toMatchObject({ intact: true });
    await expect(fork(store.sessions, last, 64)).rejects.toMatchObject({ reason: "FORK_TOO_DEEP" });
  });
});
