import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type AckCutter, startAckCutter } from "./testing/ack-cutter.ts";
import { agentMessage, newSession, startStore, testConfig, textOf } from "./testing/service.ts";

let server: NatsServer;
let cutter: AckCutter;
let store: Awaited<ReturnType<typeof startStore>>;

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  cutter = await startAckCutter(server.port);
  store = await startStore(testConfig({ url: cutter.url, monitorUrl: server.monitorUrl }));
});

afterAll(async () => {
  await store.stop();
  await cutter.close();
  await server.stop();
});

it("settles an append whose acknowledgement was cut off: stored once, answered as stored", async () => {
  const sessionId = await newSession(store.sessions);
  for (let n = 1; n <= 3; n += 1) {
    cutter.cutNext(1);
    const answer = await store.sessions.emitEvents({
      sessionId,
      events: [agentMessage(`cut ${n}`)],
      expectedPosition: BigInt(n),
    });
    expect(answer).toMatchObject({ headPosition: BigInt(n + 1), duplicate: false });
    expect(cutter.cuts()).toBe(n);
  }
  const { events } = await store.sessions.getEvents({ sessionId });
  expect(events.map(textOf)).toEqual(["cut 1", "cut 2", "cut 3"]);
});

it("answers UNAVAILABLE when the deadline comes first, and the repeat finds what was stored", async () => {
  const sessionId = await newSession(store.sessions);
  cutter.cutNext(1);
  const event = () => agentMessage("late", "sevt_late");
  const first = await store.sessions
    .emitEvents({ sessionId, events: [event()] }, { deadlineMs: 120 })
    .catch((error: unknown) => error);
  if (first instanceof Error) expect(first).toMatchObject({ kind: expect.stringMatching(/unavailable|deadline/) });
  const again = await store.sessions.emitEvents({ sessionId, events: [event()] });
  expect(again.events[0]).toMatchObject({ id: "sevt_late", position: 1n });
  expect((await store.sessions.getSession({ sessionId })).session?.headPosition).toBe(2n);
});

it("settles many appends at once whose group's acknowledgement was cut off: each stored once, answered as stored", async () => {
  const sessions = await Promise.all(Array.from({ length: 80 }, () => newSession(store.sessions)));
  const cutBefore = cutter.cuts();
  for (let n = 1; n <= 3; n += 1) {
    cutter.cutNext(2);
    const events = () => [agentMessage(`all ${n}`)];
    const answers = await Promise.all(
      sessions.map((sessionId) =>
        store.sessions.emitEvents({ sessionId, events: events(), expectedPosition: BigInt(n) }),
      ),
    );
    for (const answer of answers) expect(answer).toMatchObject({ headPosition: BigInt(n + 1), duplicate: false });
  }
  expect(cutter.cuts()).toBeGreaterThan(cutBefore + 2);
  const logs = await Promise.all(sessions.map((sessionId) => store.sessions.getEvents({ sessionId })));
  for (const { events } of logs) expect(events.map(textOf)).toEqual(["all 1", "all 2", "all 3"]);
  for (const sessionId of sessions)
    expect(await store.sessions.verifySession({ sessionId })).toMatchObject({ intact: true });
});
