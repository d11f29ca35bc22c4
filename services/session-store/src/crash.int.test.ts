import { createHash } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { EventSchema } from "@manyhands/protocol";
import { eventually, freePort, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { storeProcess } from "./testing/process.ts";
import { agentMessage, collect, connectTo, newSession, textOf, workspaceId } from "./testing/service.ts";

let server: NatsServer;

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
});

afterAll(() => server.stop());

/** Writes until told to stop; every text it was told is stored goes to `acknowledged`. */
async function writer(
  address: () => string,
  sessionId: string,
  name: string,
  acknowledged: string[],
  stop: AbortSignal,
) {
  const { sessions } = connectTo(address());
  for (let n = 0; !stop.aborted; n += 1) {
    const text = `${name}-${n}`;
    const id = `sevt_${createHash("sha256").update(text).digest("hex").slice(0, 20)}`;
    for (;;) {
      try {
        await sessions.emitEvents({ sessionId, events: [agentMessage(text, id)] }, { deadlineMs: 3000 });
        acknowledged.push(text);
        break;
      } catch {
        if (stop.aborted) return;
        await eventually(() => true, { everyMs: 20 });
      }
    }
  }
}

async function allTexts(address: string, sessionId: string) {
  const { sessions } = connectTo(address);
  const events = [];
  let pageToken = "";
  do {
    const page = await sessions.getEvents({ sessionId, pageToken, pageSize: 500 });
    events.push(...page.events);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return events;
}

/** The list's consumer notices by missed heartbeats that its server was replaced. */
const catchUp = { timeoutMs: 5_000 };

describe("kill -9", () => {
  it("of session-store loses nothing acknowledged and doubles nothing, while writers write", async () => {
    const store = await storeProcess(server, await freePort());
    await store.start();
    const sessionId = await newSession(connectTo(store.address()).sessions);
    const stop = new AbortController();
    const acknowledged: string[] = [];
    const writers = ["a", "b", "c", "d"].map((name) =>
      writer(store.address, sessionId, name, acknowledged, stop.signal),
    );
    for (const goal of [60, 120, 180]) {
      await eventually(() => acknowledged.length >= goal, { timeoutMs: 30_000 });
      await store.end("SIGKILL");
      await store.start();
    }
    await eventually(() => acknowledged.length >= 240, { timeoutMs: 30_000 });
    stop.abort();
    await Promise.all(writers);
    const events = await allTexts(store.address(), sessionId);
    const texts = events.map(textOf);
    expect(new Set(texts).size).toBe(texts.length);
    expect(acknowledged.filter((text) => !texts.includes(text))).toEqual([]);
    expect(events.map((event) => Number(event.position))).toEqual(events.map((_, n) => n + 1));
    expect(await store.end("SIGTERM")).toBe(0);
  });

  it("of nats-server: the same, and appends answer within their deadline meanwhile", async () => {
    await using own = await startNatsServer({ syncAlways: true });
    const store = await storeProcess(own, await freePort());
    await store.start();
    const { sessions } = connectTo(store.address());
    const sessionId = await newSession(sessions);
    const stop = new AbortController();
    const acknowledged: string[] = [];
    const writers = ["a", "b"].map((name) => writer(store.address, sessionId, name, acknowledged, stop.signal));
    const watch = collect((signal) =>
      sessions.watchEvents(
        { sessionId, start: { case: "fromPosition", value: 0n }, heartbeatMs: 1000 },
        { signal, deadlineMs: 120_000 },
      ),
    );
    await eventually(() => acknowledged.length >= 50, { timeoutMs: 30_000 });
    await own.kill9();
    const started = Date.now();
    const refused = await sessions
      .emitEvents({ sessionId, events: [agentMessage("into the void", "sevt_void")] }, { deadlineMs: 1500 })
      .catch((error: unknown) => error);
    expect(refused).toMatchObject({ kind: expect.stringMatching(/unavailable|deadline/) });
    expect(Date.now() - started).toBeLessThan(3000);
    await own.restart();
    await eventually(() => acknowledged.length >= 100, { timeoutMs: 30_000 });
    stop.abort();
    await Promise.all(writers);
    const texts = (await allTexts(store.address(), sessionId)).map(textOf);
    expect(new Set(texts).size).toBe(texts.length);
    expect(acknowledged.filter((text) => !texts.includes(text))).toEqual([]);
    await eventually(() => watch.events().length === texts.length, { timeoutMs: 10_000 });
    expect(watch.events().map(textOf)).toEqual(texts);
    watch.stop();
    const later = await newSession(sessions);
    await eventually(async () => {
      const { sessions: list } = await sessions.listSessions({ workspaceId, pageSize: 10 });
      return list.some((one) => one.id === later);
    }, catchUp);
    expect(await store.end("SIGTERM")).toBe(0);
  });
});

describe("a restart", () => {
  it("remembers request ids, ids, epochs and content byte for byte", async () => {
    const store = await storeProcess(server, await freePort());
    await store.start();
    const first = connectTo(store.address()).sessions;
    const sessionId = await newSession(first);
    const request = { sessionId, requestId: "r1", events: [agentMessage("once")] };
    const before = await first.emitEvents(request);
    await store.end("SIGKILL");
    await store.start();
    const again = await connectTo(store.address()).sessions.emitEvents({ ...request, events: [agentMessage("once")] });
    expect(again.duplicate).toBe(true);
    const bytes = (list: typeof before.events) =>
      list.map((event) => Buffer.from(toBinary(EventSchema, event)).toString("hex"));
    expect(bytes(again.events)).toEqual(bytes(before.events));
    await store.end("SIGTERM");
  });

  it("ends streams with UNAVAILABLE, which may be tried again", async () => {
    const store = await storeProcess(server, await freePort());
    await store.start();
    const { sessions } = connectTo(store.address());
    const sessionId = await newSession(sessions);
    const watch = collect((signal) => sessions.watchEvents({ sessionId }, { signal, deadlineMs: 60_000 }));
    await eventually(() => watch.cases().includes("caughtUp"));
    await store.end("SIGTERM");
    expect(await watch.ended).toMatchObject({ kind: "unavailable", retry: "now" });
  });
});

describe("starting", () => {
  it("is refused, with the reason, without proof that writes are synced, unless loss is allowed", async () => {
    await using lazy = await startNatsServer();
    const careful = await storeProcess(lazy, await freePort());
    await expect(careful.start()).rejects.toThrow(/does not sync every write[\s\S]*SYNC_NOT_PROVEN/);
    const careless = await storeProcess(lazy, await freePort(), { MH_ALLOW_DATA_LOSS: "true" });
    await careless.start();
    expect(careless.output()).toContain("may lose acknowledged events");
    const ready = await fetch(`http://${careless.adminAddress()}/readyz`);
    expect(await ready.json()).toMatchObject({
      ready: true,
      checks: { nats: { ok: true }, streams: { ok: true }, index: { ok: true } },
    });
    await careless.end("SIGTERM");
  });
});
