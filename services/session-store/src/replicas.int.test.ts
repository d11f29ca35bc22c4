import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  agentMessage,
  collect,
  newSession,
  startStore,
  testConfig,
  textOf,
  userMessage,
  workspaceId,
} from "./testing/service.ts";

let server: NatsServer;
let a: Awaited<ReturnType<typeof startStore>>;
let b: Awaited<ReturnType<typeof startStore>>;

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  [a, b] = await Promise.all([startStore(testConfig(server)), startStore(testConfig(server))]);
});

afterAll(async () => {
  await Promise.all([a.stop(), b.stop()]);
  await server.stop();
});

describe("two replicas", () => {
  it("see each other's appends at once, each reads its own and the other's writes", async () => {
    const sessionId = await newSession(a.sessions);
    await b.sessions.emitEvents({ sessionId, events: [agentMessage("by b")], expectedPosition: 1n });
    expect((await a.sessions.getSession({ sessionId })).session?.headPosition).toBe(2n);
    await a.sessions.emitEvents({ sessionId, events: [agentMessage("by a")], expectedPosition: 2n });
    expect((await b.sessions.getEvents({ sessionId })).events.map(textOf)).toEqual(["by b", "by a"]);
    // b does not know frame 2 yet: a position that is right must not be refused because b is behind.
    await a.sessions.emitEvents({ sessionId, events: [agentMessage("more")] });
    await b.sessions.emitEvents({ sessionId, events: [agentMessage("right")], expectedPosition: 4n });
  });

  it("list at once what the other created, changed and deleted", async () => {
    const list = async () => {
      const { sessions } = await b.sessions.listSessions({ workspaceId });
      return new Map(sessions.map((one) => [one.id, one.headPosition]));
    };
    const [kept, gone] = [await newSession(a.sessions), await newSession(a.sessions)];
    await b.sessions.emitEvents({ sessionId: kept, events: [agentMessage("by b")] });
    await a.sessions.emitEvents({ sessionId: kept, events: [agentMessage("by a")] });
    const listed = await list();
    expect([listed.get(kept), listed.get(gone)]).toEqual([3n, 1n]);
    await a.sessions.deleteSession({ workspaceId, sessionId: gone });
    expect((await list()).has(gone)).toBe(false);
  });

  it("let every writer through without a gap, and watchers on both see the same", async () => {
    const sessionId = await newSession(a.sessions);
    const watches = [a, b].map(({ sessions }) =>
      collect((signal) => sessions.watchEvents({ sessionId, start: { case: "fromPosition", value: 0n } }, { signal })),
    );
    const writes = Array.from({ length: 60 }, (_, n) =>
      (n % 2 === 0 ? a : b).sessions.emitEvents({ sessionId, events: [agentMessage(`${n}`)] }),
    );
    const positions = (await Promise.all(writes)).map((answer) => Number(answer.events[0]?.position));
    expect(positions.sort((x, y) => x - y)).toEqual(Array.from({ length: 60 }, (_, n) => n + 1));
    for (const watch of watches) await eventually(() => watch.events().length === 60);
    const [first, second] = watches.map((watch) => watch.events().map((event) => [event.position, event.id]));
    expect(first).toEqual(second);
    for (const watch of watches) watch.stop();
  });

  it("answer a repeat on either one, and forget a session that the other deleted", async () => {
    const sessionId = await newSession(a.sessions);
    await b.sessions.getSession({ sessionId });
    const request = { sessionId, requestId: "r1", events: [userMessage("once", "sevt_r1")] };
    await a.sessions.emitEvents(request);
    expect((await b.sessions.emitEvents({ ...request, events: [userMessage("once", "sevt_r1")] })).duplicate).toBe(
      true,
    );

    const gone = await newSession(a.sessions);
    for (let n = 0; n < 8; n += 1) await a.sessions.emitEvents({ sessionId: gone, events: [agentMessage(`${n}`)] });
    await b.sessions.getSession({ sessionId: gone });
    const watch = collect((signal) => b.sessions.watchEvents({ sessionId: gone }, { signal }));
    await eventually(() => watch.cases().includes("caughtUp"));
    await a.sessions.deleteSession({ workspaceId, sessionId: gone });
    expect(await watch.ended).toBeUndefined();
    await eventually(async () => {
      const failure = await b.sessions.getSession({ sessionId: gone }).catch((error: unknown) => error);
      expect(failure).toMatchObject({ kind: "notFound" });
      return true;
    });
    await expect(b.sessions.emitEvents({ sessionId: gone, events: [userMessage("x")] })).rejects.toMatchObject({
      kind: "notFound",
    });
  });
});
