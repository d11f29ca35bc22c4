import { create, toBinary } from "@bufbuild/protobuf";
import {
  createSessionFileReader,
  EventSchema,
  encodeSessionFileFrame,
  encodeSessionFileManifest,
  FrameSchema,
  type SessionFilePart,
  SessionStatus,
} from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hashOf } from "./log/hot-session.ts";
import { allEvents, exported, fork, imported } from "./testing/carry.ts";
import {
  agentMessage,
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
let elsewhereServer: NatsServer;
let store: Awaited<ReturnType<typeof startStore>>;
let elsewhere: Awaited<ReturnType<typeof startStore>>;

beforeAll(async () => {
  [server, elsewhereServer] = await Promise.all([
    startNatsServer({ syncAlways: true }),
    startNatsServer({ syncAlways: true }),
  ]);
  [store, elsewhere] = await Promise.all([startStore(testConfig(server)), startStore(testConfig(elsewhereServer))]);
});

afterAll(async () => {
  await Promise.all([store.stop(), elsewhere.stop()]);
  await Promise.all([server.stop(), elsewhereServer.stop()]);
});

const emit = (sessionId: string, ...events: ReturnType<typeof userMessage>[]) =>
  store.sessions.emitEvents({ sessionId, events });

/** A session of ten frames, with an event and a field that no catalogue knows. */
async function longer(): Promise<string> {
  const sessionId = await newSession(store.sessions, { title: "carried", vaultIds: ["vlt_1"] });
  await store.sessions.emitEvents({ sessionId, events: [woken(1)], epoch: 1n });
  const future = create(EventSchema, { type: "future.thing" });
  future.$unknown = [{ no: 900, wireType: 2, data: new Uint8Array([3, 1, 2, 3]) }];
  const message = agentMessage("with a new field");
  message.$unknown = [{ no: 901, wireType: 0, data: new Uint8Array([42]) }];
  await emit(sessionId, future, message);
  for (let n = 0; n < 6; n += 1) await emit(sessionId, agentMessage(`m${n} ${"x".repeat(2000)}`), agentMessage("and"));
  await emit(sessionId, userMessage("work"));
  return sessionId;
}

function partsOf(file: Uint8Array): SessionFilePart[] {
  const reader = createSessionFileReader();
  const parts = reader.push(file);
  reader.end();
  return parts;
}

const framesOf = (file: Uint8Array) => partsOf(file).flatMap((part) => (part.kind === "frame" ? [part.stored] : []));

/** The file with its frames changed and everything else as it was. */
function remade(file: Uint8Array, change: (frames: Uint8Array[]) => Uint8Array[]): Uint8Array {
  const [first] = partsOf(file);
  if (first?.kind !== "manifest") throw new Error("no manifest");
  const frames = change(framesOf(file));
  return Buffer.concat([encodeSessionFileManifest(first.manifest), ...frames.map(encodeSessionFileFrame)]);
}

/** The frame's bytes with one character of a text changed. */
function altered(frame: Uint8Array | undefined): Uint8Array {
  const copy = Buffer.from(frame ?? []);
  copy[copy.lastIndexOf("x")] = 0x79;
  return copy;
}

describe("carrying a session", () => {
  it("exports and imports every stored byte, goes on idle elsewhere, and exports the same bytes again", async () => {
    const sessionId = await longer();
    const file = await exported(store.sessions, sessionId);
    const session = await imported(elsewhere.sessions, file);
    expect(session).toMatchObject({
      id: sessionId,
      status: SessionStatus.IDLE,
      title: "carried",
      vaultIds: [],
      epoch: 1n,
      origin: { sessionId, position: 17n },
    });
    const there = await allEvents(store.sessions, sessionId);
    const here = await allEvents(elsewhere.sessions, sessionId);
    expect(here.slice(0, -1).map((event) => toBinary(EventSchema, event))).toEqual(
      there.map((event) => toBinary(EventSchema, event)),
    );
    expect(await elsewhere.sessions.verifySession({ workspaceId, sessionId })).toMatchObject({ intact: true });
    await elsewhere.sessions.emitEvents({ sessionId, events: [userMessage("go on")] });
    const again = await exported(elsewhere.sessions, sessionId);
    expect(framesOf(again).slice(0, 10)).toEqual(framesOf(file));
    expect(framesOf(again)).toHaveLength(12);
    const third = await imported(elsewhere.sessions, again);
    expect(third.id).not.toBe(sessionId);
    expect((await allEvents(elsewhere.sessions, third.id)).map(textOf).slice(-3)).toEqual([
      "session.forked",
      "go on",
      "session.forked",
    ]);
    await elsewhere.sessions.emitEvents({ sessionId, events: [idle()] });
    await elsewhere.sessions.deleteSession({ workspaceId, sessionId });
    expect((await allEvents(elsewhere.sessions, third.id)).length).toBe(20);
  });

  it("carries a fork whole, and imports under an id that is asked for when it is free", async () => {
    const sessionId = await longer();
    const forkId = await fork(store.sessions, sessionId, 3); // repeats an event of a type that nobody knows
    const [, , unknown] = await allEvents(store.sessions, sessionId);
    expect((await allEvents(store.sessions, forkId))[2]).toEqual(unknown);
    expect(unknown?.$unknown).toHaveLength(1);
    await emit(forkId, agentMessage("own"), idle());
    const file = await exported(store.sessions, forkId);
    const session = await imported(elsewhere.sessions, file, { sessionId: "sesn_asked_for" }, 7);
    expect(session.id).toBe("sesn_asked_for");
    const events = await allEvents(elsewhere.sessions, session.id);
    expect(events.slice(0, -1)).toEqual(await allEvents(store.sessions, forkId));
    await expect(imported(elsewhere.sessions, file, { sessionId: "sesn_asked_for" })).rejects.toMatchObject({
      reason: "ID_REUSED",
    });
    await store.sessions.deleteSession({ workspaceId, sessionId: forkId });
    const listed = await elsewhere.sessions.listSessions({ workspaceId, pageSize: 1000 });
    expect(listed.sessions.filter((one) => one.id === "sesn_asked_for")).toHaveLength(1);
  });

  it("refuses what was truncated, altered, reordered, dropped or added, names the frame, and keeps nothing", async () => {
    const sessionId = await longer();
    const file = await exported(store.sessions, sessionId);
    const refused = async (bad: Uint8Array, frame: number, why: RegExp) => {
      const attempt = imported(elsewhere.sessions, bad, { sessionId: "sesn_never" });
      await expect(attempt).rejects.toMatchObject({
        kind: "invalid",
        reason: "FILE_DAMAGED",
        message: expect.stringMatching(why),
        details: { metadata: { frame: String(frame) } },
      });
    };
    await refused(file.subarray(0, file.length - 1), 9, /truncated: it ends in frame 9 of 10/);
    await refused(file.subarray(0, 30), 0, /truncated: it ends before its manifest/);
    await refused(Buffer.concat([file, file.subarray(file.length - 100)]), 10, /more behind|no length|frame 10/);
    await refused(Buffer.from("something else entirely\n"), 0, /no session file/);
    const at = (number: number, make: (frame: Uint8Array | undefined) => Uint8Array) => (frames: Uint8Array[]) =>
      frames.map((frame, index) => (index === number ? make(frame) : frame));
    for (const number of [3, 5, 8]) {
      await refused(remade(file, at(number, altered)), number, /do not have the hash that frame/);
    }
    await refused(
      remade(
        file,
        at(9, () => framesOf(file)[0] ?? new Uint8Array()),
      ),
      9,
      /begins at 0/,
    );
    await refused(
      remade(file, (frames) => [...frames.slice(0, 4), ...frames.slice(5), new Uint8Array()]),
      4,
      /begins at/,
    );
    await refused(
      remade(file, (frames) => frames.toSpliced(4, 2, ...frames.slice(4, 6).reverse())),
      4,
      /begins at/,
    );
    const relinked = at(5, (frame) => {
      const bytes = Buffer.from(frame ?? []);
      bytes.set(hashOf(bytes), bytes.indexOf(hashOf(framesOf(file)[4] ?? new Uint8Array())));
      return bytes;
    });
    await refused(remade(file, relinked), 5, /does not carry the hash/);
    await expect(elsewhere.sessions.getSession({ workspaceId, sessionId: "sesn_never" })).rejects.toMatchObject({
      kind: "notFound",
    });
    await expect(elsewhere.sessions.verifySession({ sessionId: "sesn_never" })).rejects.toMatchObject({
      kind: "notFound",
    });
  });

  it("refuses a file that claims frames of somebody else's session", async () => {
    const secret = await longer();
    const forked = create(EventSchema, {
      id: "sevt_f",
      type: "session.forked",
      position: 1n,
      payload: { case: "sessionForked", value: { originSessionId: secret, originFrames: 5n, originPosition: 1n } },
    });
    const created = create(EventSchema, {
      id: "sevt_c",
      type: "session.created",
      payload: { case: "sessionCreated", value: { workspaceId: "wrkspc_evil" } },
    });
    const stored = toBinary(FrameSchema, create(FrameSchema, { id: "x", events: [created, forked] }));
    const manifest = { formatVersion: 1, frames: 1n, events: 2n, headHash: hashOf(stored) };
    const file = Buffer.concat([encodeSessionFileManifest(manifest), encodeSessionFileFrame(stored)]);
    await expect(imported(store.sessions, file, { workspaceId: "wrkspc_evil" })).rejects.toMatchObject({
      reason: "FILE_DAMAGED",
      message: expect.stringContaining("session.forked says that it stands in frame 5"),
    });
  });
});

describe("carrying big outputs", () => {
  it("takes them along whole, and refuses them altered, cut or left out", async () => {
    const sessionId = await newSession(store.sessions);
    const text = Array.from({ length: 60_000 }, (_, n) => `line ${n}`).join("\n");
    const result = (id: string) =>
      create(EventSchema, {
        id,
        type: "agent.tool_result",
        payload: {
          case: "agentToolResult",
          value: { toolUseId: "sevt_t", content: [{ kind: { case: "text", value: { text } } }] },
        },
      });
    await emit(sessionId, result("sevt_r1"));
    await emit(sessionId, result("sevt_r2"), idle());
    const file = await exported(store.sessions, sessionId);
    expect(file.length).toBeGreaterThan(text.length);
    expect(file.length).toBeLessThan(text.length + 400_000); // the same text twice is carried once
    const session = await imported(elsewhere.sessions, file);
    const { events } = await elsewhere.sessions.getEvents({ sessionId: session.id, includeBlobs: true });
    const texts = events.flatMap(({ payload }) =>
      payload.case === "agentToolResult" ? payload.value.content.map((block) => block.kind.value) : [],
    );
    expect(texts).toMatchObject([{ text }, { text }]);
    expect(framesOf(await exported(elsewhere.sessions, session.id)).slice(0, 3)).toEqual(framesOf(file));
    const bent = Buffer.from(file);
    bent[bent.lastIndexOf("line 30000")] = 0x4c;
    const refused = { reason: "FILE_DAMAGED", details: { metadata: { frame: "1" } } };
    await expect(imported(elsewhere.sessions, bent)).rejects.toMatchObject(refused);
    await expect(
      imported(
        elsewhere.sessions,
        remade(file, (frames) => frames),
      ),
    ).rejects.toMatchObject(refused);
    await elsewhere.sessions.deleteSession({ workspaceId, sessionId: session.id });
  });
});
