/** A log that someone meddled with behind the service's back, on a real server. */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { connectBus, purgeSession } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { FrameSchema } from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EventStore, StoredFrame } from "./store/event-store.ts";
import { createJetStreamEventStore } from "./store/jetstream-event-store.ts";
import { fork } from "./testing/carry.ts";
import { agentMessage, newSession, startStore, testConfig, workspaceId } from "./testing/service.ts";

let server: NatsServer;
let store: Awaited<ReturnType<typeof startStore>>;
let raw: EventStore;
let purge: (sessionId: string) => Promise<number>;
let close: () => Promise<void>;

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  store = await startStore(testConfig(server));
  const bus = await connectBus({ url: server.url, name: "meddler", logger: silentLogger() });
  const opened = createJetStreamEventStore(bus);
  raw = opened;
  purge = (sessionId) => purgeSession(bus, sessionId, 5000, 0);
  close = async () => {
    opened.close();
    await bus.close();
  };
});

afterAll(async () => {
  await close();
  await store.stop();
  await server.stop();
});

async function session(): Promise<string> {
  const sessionId = await newSession(store.sessions);
  for (let n = 1; n < 8; n += 1) await store.sessions.emitEvents({ sessionId, events: [agentMessage(`text ${n}`)] });
  return sessionId;
}

/** Takes all frames out and puts in what `change` makes of them. */
async function meddle(sessionId: string, change: (frames: StoredFrame[]) => StoredFrame[]): Promise<void> {
  const frames = await raw.read(sessionId, [0, 1, 2, 3, 4, 5, 6, 7]);
  const kept = frames.map(({ frame, payload, position, count, sequence }) => ({
    sessionId,
    frame,
    payload: payload.slice(),
    position,
    count,
    sequence,
  }));
  await purge(sessionId);
  for (const one of change(kept)) await raw.append({ ...one, epoch: 0, status: "idle" }, 5000);
}

const replace = (number: number, payload: (old: Uint8Array) => Uint8Array) => (frames: StoredFrame[]) =>
  frames.map((one) => (one.frame === number ? { ...one, payload: payload(one.payload) } : one));

function otherText(old: Uint8Array): Uint8Array {
  const copy = Buffer.from(old);
  copy[copy.indexOf("text")] = 0x54;
  return copy;
}

describe("verifying", () => {
  it("proves a log that nobody touched", async () => {
    const sessionId = await session();
    const proof = await store.sessions.verifySession({ workspaceId, sessionId });
    expect(proof).toMatchObject({ intact: true, problem: "", frames: 8n, headPosition: 8n });
    expect(proof.headHash).toHaveLength(32);
    expect(proof.firstBadFrame).toBeUndefined();
  });

  it.each([
    ["an altered text", replace(3, otherText), 3, /do not have the hash that frame 4 carries/],
    ["an altered last frame", replace(7, otherText), 7, /do not have the hash known of the last frame/],
    [
      "an altered first frame",
      replace(0, (old) => old.with(4, old[4] === 65 ? 66 : 65)),
      0,
      /hash that frame 1 carries/,
    ],
    [
      "an altered link",
      replace(5, (old) => {
        const frame = fromBinary(FrameSchema, old);
        frame.previousHash = frame.previousHash.with(0, (frame.previousHash[0] ?? 0) ^ 1);
        return toBinary(FrameSchema, frame);
      }),
      5,
      /does not carry the hash of the frame before/,
    ],
    ["garbage", replace(2, () => new Uint8Array([1, 2, 3])), 2, /its bytes are no frame/],
    ["a dropped frame", (frames: StoredFrame[]) => frames.filter((one) => one.frame !== 4), 4, /it is missing/],
    ["a dropped beginning", (frames: StoredFrame[]) => frames.slice(2), 0, /it is missing/],
    ["a dropped end", (frames: StoredFrame[]) => frames.slice(0, 6), 6, /it is missing/],
    [
      "reordered frames",
      (frames: StoredFrame[]) =>
        frames.map((one) => {
          const other = frames[one.frame === 3 ? 4 : one.frame === 4 ? 3 : one.frame];
          return { ...one, payload: other?.payload ?? one.payload };
        }),
      3,
      /begins at 4/,
    ],
    [
      "a header that says something else",
      (frames: StoredFrame[]) => frames.map((one) => (one.frame === 6 ? { ...one, count: 2 } : one)),
      6,
      /header says 2 events/,
    ],
  ])("names the frame of %s", async (_, change, firstBadFrame, problem) => {
    const sessionId = await session();
    await meddle(sessionId, change);
    expect(await store.sessions.verifySession({ workspaceId, sessionId })).toMatchObject({
      intact: false,
      firstBadFrame: BigInt(firstBadFrame),
      problem: expect.stringMatching(problem),
    });
  });

  it("finds an altered shared frame from the fork too", async () => {
    const sessionId = await session();
    const forkId = await fork(store.sessions, sessionId, 6);
    await meddle(sessionId, replace(5, otherText));
    expect(await store.sessions.verifySession({ workspaceId, sessionId: forkId })).toMatchObject({
      intact: false,
      firstBadFrame: 5n,
    });
    await expect(
      store.sessions.exportSession({ workspaceId, sessionId: forkId })[Symbol.asyncIterator]().next(),
    ).rejects.toMatchObject({ reason: "LOG_DAMAGED" });
  });
});
