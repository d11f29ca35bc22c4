import { create } from "@bufbuild/protobuf";
import {
  applyStreams,
  type Bus,
  connectBus,
  consumeWakes,
  observeUndeclared,
  publishDelta,
  type UndeclaredObserver,
} from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { DeltaSchema } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  agentMessage,
  collect,
  idle,
  newSession,
  startStore,
  testConfig,
  textOf,
  userMessage,
} from "./testing/service.ts";

let server: NatsServer;
let bus: Bus;
let observer: UndeclaredObserver;
let store: Awaited<ReturnType<typeof startStore>>;

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  bus = await connectBus({ url: server.url, name: "brain", logger: silentLogger() });
  await applyStreams(bus, { replicas: 1, streams: ["MH_LOG", "MH_WAKE"] });
  observer = await observeUndeclared(bus);
  store = await startStore(testConfig(server, { MH_WAKE_RESCAN_MS: "400", MH_WATCH_BUFFER_FRAMES: "4" }));
});

afterAll(async () => {
  await store.stop();
  await bus.close();
  await server.stop();
});

describe("wakes", () => {
  it("follow the append of an event that needs a brain, and only of such", async () => {
    const woken: string[] = [];
    const brains = await consumeWakes(bus, {
      kind: "kind-a",
      concurrency: 4,
      handle: async (wake) => {
        if (!woken.includes(wake.sessionId)) woken.push(wake.sessionId);
        // The turn is over at once: the log moves and the session idles.
        await store.sessions.emitEvents({ sessionId: wake.sessionId, events: [idle()] });
      },
    });
    const quiet = await newSession(store.sessions, { harnessKind: "kind-a" });
    await store.sessions.emitEvents({ sessionId: quiet, events: [agentMessage("no work")] });
    const asked = await newSession(store.sessions, { harnessKind: "kind-a" });
    await store.sessions.emitEvents({ sessionId: asked, events: [userMessage("work")] });
    const initial = await newSession(store.sessions, { harnessKind: "kind-a", initialEvents: [userMessage("work")] });
    await eventually(() => woken.includes(asked) && woken.includes(initial));
    expect(woken).not.toContain(quiet);
    await brains.stop();
  });

  it("come again from the reconciler while a running session's log does not move", async () => {
    const deliveries: string[] = [];
    const sessionId = await newSession(store.sessions, { harnessKind: "kind-b", initialEvents: [userMessage("work")] });
    const brains = await consumeWakes(bus, {
      kind: "kind-b",
      concurrency: 1,
      handle: async (wake) => {
        deliveries.push(wake.sessionId); // a brain that drops the wake without a trace
      },
    });
    await eventually(() => deliveries.length >= 8, { timeoutMs: 15_000 });
    await store.sessions.emitEvents({ sessionId, events: [idle()] });
    expect(new Set(deliveries)).toEqual(new Set([sessionId]));
    await brains.stop();
  });
});

describe("watching", () => {
  it("mixes in deltas when asked, and drops a reader that is too slow with the place to go on", async () => {
    const sessionId = await newSession(store.sessions);
    const watch = collect((signal) => store.sessions.watchEvents({ sessionId, includeDeltas: true }, { signal }));
    await eventually(() => watch.cases().includes("caughtUp"));
    const delta = create(DeltaSchema, {
      eventId: "sevt_d",
      eventType: "agent.message",
      kind: { case: "text", value: { index: 0, text: "he" } },
    });
    publishDelta(bus, sessionId, delta);
    await eventually(() => watch.cases().includes("delta"));
    watch.stop();

    const controller = new AbortController();
    const slow = store.sessions.watchEvents({ sessionId }, { signal: controller.signal, deadlineMs: 60_000 });
    const reader = slow[Symbol.asyncIterator]();
    expect((await reader.next()).value?.item.case).toBe("caughtUp");
    const big = "x".repeat(400_000);
    for (let n = 0; n < 40; n += 1)
      await store.sessions.emitEvents({ sessionId, events: [agentMessage(`${n}${big}`)] });
    const seen: number[] = [];
    const failure = await (async () => {
      for (;;) {
        const { value } = await reader.next();
        if (value?.item.case === "event") seen.push(Number(value.item.value.position));
      }
    })().catch((error: unknown) => error);
    expect(failure).toMatchObject({
      kind: "exhausted",
      reason: "READER_TOO_SLOW",
      details: { metadata: { resume_after_position: String(seen.at(-1) ?? 0) } },
    });
    const from = BigInt((seen.at(-1) ?? 0) + 1);
    const resumed = collect((signal) =>
      store.sessions.watchEvents({ sessionId, start: { case: "fromPosition", value: from } }, { signal }),
    );
    await eventually(() => Number(resumed.events().at(-1)?.position) === 40, { timeoutMs: 10_000 });
    expect(resumed.events()[0]?.position).toBe(from);
    expect(textOf(resumed.events().at(-1) ?? idle())).toMatch(/^39x/);
    resumed.stop();
  });

  it("publishes nothing outside the table of the bus", () => {
    expect(observer.total()).toBeGreaterThan(100);
    expect(observer.seen()).toEqual([]);
  });
});
