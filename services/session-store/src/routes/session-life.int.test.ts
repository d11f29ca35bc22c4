import { SessionStatus } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import { agentMessage, collect, idle, json, newSession, userMessage, workspaceId } from "../testing/service.ts";
import { storeUnderTest } from "../testing/store-under-test.ts";

const { store, emit } = storeUnderTest();

describe("sessions", () => {
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

  it("takes another agent between turns only, and no other thing than an object", async () => {
    const sessionId = await newSession(store.sessions);
    const agentJson = json({ id: "a", model: { id: "other" } });
    const { session } = await store.sessions.updateSession({ workspaceId, sessionId, agentJson });
    expect(Buffer.from(session?.agentJson ?? [])).toEqual(Buffer.from(agentJson));
    await expect(store.sessions.updateSession({ workspaceId, sessionId, agentJson: json([]) })).rejects.toMatchObject({
      kind: "invalid",
    });
    await emit(sessionId, userMessage("go"));
    await expect(store.sessions.updateSession({ workspaceId, sessionId, agentJson })).rejects.toMatchObject({
      reason: "SESSION_RUNNING",
    });
    await emit(sessionId, idle());
    await store.sessions.updateSession({ workspaceId, sessionId, agentJson });
  });

  it("deletes: watchers end, events are gone, the id is never used again", async () => {
    const sessionId = await newSession(store.sessions);
    await emit(sessionId, agentMessage("a"), agentMessage("b"));
    const watch = collect((signal) =>
      store.sessions.watchEvents({ sessionId, start: { case: "fromPosition", value: 0n } }, { signal }),
    );
    await eventually(() => watch.cases().includes("caughtUp"));
    expect(await store.sessions.deleteSession({ workspaceId, sessionId })).toMatchObject({
      framesRemoved: 2n,
      framesLeft: 1n,
    });
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
