import { create } from "@bufbuild/protobuf";
import { applyStreams, connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { type Event, EventSchema } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createJetStreamSideStore } from "./store/jetstream-side-store.ts";
import {
  agentMessage,
  collect,
  newSession,
  startStore,
  testConfig,
  userMessage,
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

const big = Array.from({ length: 100_000 }, (_, n) => `line ${n}\n`).join("");

const toolResult = (text: string, id = ""): Event =>
  create(EventSchema, {
    id,
    type: "agent.tool_result",
    payload: {
      case: "agentToolResult",
      value: { toolUseId: "sevt_u", content: [{ kind: { case: "text", value: { text } } }] },
    },
  });

function resultText({ payload }: Event): string {
  const block = payload.case === "agentToolResult" ? payload.value.content[0]?.kind : undefined;
  return block?.case === "text" ? block.value.text : "";
}

it("keeps a big result beside the log: short in lists, whole when asked for, in ranges, gone with the session", async () => {
  const sessionId = await newSession(store.sessions);
  const { events } = await store.sessions.emitEvents({ sessionId, events: [toolResult(big), agentMessage("after")] });
  const [stored] = events;
  if (stored === undefined) throw new Error("nothing stored");
  expect(Buffer.byteLength(resultText(stored))).toBeLessThan(66_000);
  const [ref] = stored.blobs;
  expect(ref).toMatchObject({ block: 0, size: BigInt(big.length) });

  const short = await store.sessions.getEvents({ sessionId, slice: { case: "last", value: 2 } });
  expect(short.events.map((event) => resultText(event).length < 66_000)).toEqual([true, true]);
  const whole = await store.sessions.getEvents({ sessionId, includeBlobs: true });
  expect(whole.events.map(resultText).filter((text) => text === big)).toHaveLength(1);

  const start = { case: "fromPosition", value: 0n } as const;
  const watch = collect((signal) => store.sessions.watchEvents({ sessionId, start, includeBlobs: true }, { signal }));
  await eventually(() => watch.events().some((event) => resultText(event) === big));
  watch.stop();

  const asked = { workspaceId, sessionId, sha256: ref?.sha256 ?? "", offset: 300_000n, length: 20n };
  const range = await store.sessions.getBlob(asked);
  expect(Buffer.from(range.data).toString()).toBe(big.slice(300_000, 300_020));
  expect(range.size).toBe(BigInt(big.length));
  for (const wrong of [{ sha256: "ab".repeat(32) }, { workspaceId: "wrkspc_other" }]) {
    await expect(store.sessions.getBlob({ ...asked, ...wrong })).rejects.toMatchObject({ kind: "notFound" });
  }
  await expect(store.sessions.getBlob({ ...asked, sha256: "../x" })).rejects.toMatchObject({ kind: "invalid" });

  const { objectsRemoved, framesLeft } = await store.sessions.deleteSession({ workspaceId, sessionId });
  expect(objectsRemoved).toBeGreaterThan(0n);
  expect(framesLeft).toBe(1n);
  const bus = await connectBus({ url: server.url, name: "look", logger: silentLogger() });
  await applyStreams(bus, { replicas: 1, streams: ["MH_BLOBS"] });
  const side = createJetStreamSideStore(bus);
  expect(await side.purge(sessionId)).toBe(0);
  side.close();
  await bus.close();
});

it("takes no word of a sender about what is kept beside the log, and refuses what is too large even so", async () => {
  const sessionId = await newSession(store.sessions);
  const lie = toolResult("small");
  lie.blobs = [
    {
      $typeName: "manyhands.events.v1.BlobRef",
      block: 0,
      sha256: "ab".repeat(32),
      size: 9n,
      headBytes: 0,
      tailBytes: 0,
    },
  ];
  const { events } = await store.sessions.emitEvents({ sessionId, events: [lie] });
  expect(events[0]?.blobs).toEqual([]);
  const many = Array.from({ length: 9 }, () => toolResult(big.slice(0, 70_000)));
  await expect(store.sessions.emitEvents({ sessionId, events: many })).rejects.toMatchObject({ reason: "TOO_LARGE" });
});

it("recognises a client's repeat hundreds of frames later, also after a restart", async () => {
  const sessionId = await newSession(store.sessions);
  const request = () => ({ workspaceId, sessionId, events: [userMessage("pay", "sevt_pay")], requestId: "req_pay" });
  await store.sessions.emitEvents(request());
  for (let n = 0; n < 560; n += 16) {
    await Promise.all(
      Array.from({ length: 16 }, () => store.sessions.emitEvents({ sessionId, events: [agentMessage("m")] })),
    );
  }
  const before = await store.sessions.emitEvents(request());
  expect(before).toMatchObject({ duplicate: true, events: [{ position: 1n }] });
  const other = await startStore(testConfig(server));
  expect(await other.sessions.emitEvents(request())).toMatchObject({
    duplicate: true,
    headPosition: before.headPosition,
  });
  const forgotten = { ...request(), requestId: "req_other" };
  expect(await other.sessions.emitEvents(forgotten)).toMatchObject({ duplicate: true, events: [{ position: 1n }] });
  await other.stop();
});
