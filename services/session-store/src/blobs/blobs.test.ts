import { create } from "@bufbuild/protobuf";
import { decodeEvent, type Event, EventSchema } from "@manyhands/protocol";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createMemoryEventStore } from "../store/memory-event-store.ts";
import { createMemorySideStore } from "../store/memory-side-store.ts";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { userMessage } from "../testing/service.ts";
import { chunkBytes, createBlobs } from "./blobs.ts";
import { inlineBytes, shorten, shownBytes } from "./shorten.ts";

const toolResult = (text: string, id = "sevt_r"): Event =>
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

it("leaves what fits alone: small results, big messages", () => {
  for (const event of [toolResult("x".repeat(inlineBytes)), userMessage("x".repeat(200_000))]) {
    expect(shorten(event)).toEqual({ event, blobs: [] });
  }
});

it("keeps head and tail at the edges of characters, and gives back exactly what was there", async () => {
  const texts = fc.array(fc.constantFrom("a", "é", "€", "😀"), { minLength: 1, maxLength: 13 });
  await fc.assert(
    fc.asyncProperty(texts, fc.integer({ min: 1, max: 3 }), async (letters, factor) => {
      const text = letters.join("").repeat(Math.ceil((inlineBytes * factor) / letters.length) + 1);
      const blobs = createBlobs(createMemorySideStore());
      const [kept] = await blobs.keep("sesn_a", [toolResult(text)]);
      if (kept === undefined) throw new Error("nothing kept");
      const short = resultText(kept);
      const [ref] = kept.blobs;
      expect(short).not.toContain("\uFFFD");
      expect(Buffer.byteLength(short)).toBeLessThan(2 * shownBytes + 64);
      expect(text.startsWith(short.slice(0, 8000))).toBe(true);
      expect(text.endsWith(short.slice(-8000))).toBe(true);
      expect(ref).toMatchObject({ block: 0, size: BigInt(Buffer.byteLength(text)) });
      const [whole] = await blobs.restore("sesn_a", [kept]);
      expect(whole === undefined ? "" : resultText(whole)).toBe(text);
    }),
    { numRuns: 20 },
  );
});

it("looks to a brain like any other result: short text, nothing else", async () => {
  const [kept] = await createBlobs(createMemorySideStore()).keep("sesn_a", [toolResult("w".repeat(100_000))]);
  if (kept === undefined) throw new Error("nothing kept");
  const { content, ...envelope } = { content: [], ...decodeEvent(kept) };
  const small = { content: [], ...decodeEvent(toolResult("small")) };
  expect(Object.keys(envelope).sort()).toEqual(
    Object.keys(small)
      .filter((key) => key !== "content")
      .sort(),
  );
  expect(content).toEqual([{ type: "text", text: resultText(kept) }]);
});

it("reads any range, across chunks, and knows the size", async () => {
  const blobs = createBlobs(createMemorySideStore());
  const text = Array.from({ length: 90_000 }, (_, n) => String(n).padStart(8, "0")).join("");
  const [kept] = await blobs.keep("sesn_a", [toolResult(text)]);
  const sha256 = kept?.blobs[0]?.sha256 ?? "";
  for (const [offset, length] of [
    [0, 10],
    [chunkBytes - 3, 6],
    [chunkBytes * 2, 0],
    [text.length - 1, 5],
    [text.length, 9],
  ] as const) {
    const found = await blobs.range("sesn_a", sha256, offset, length);
    expect(found?.data.toString()).toBe(text.slice(offset, length === 0 ? undefined : offset + length));
    expect(found?.size).toBe(text.length);
  }
  expect(await blobs.range("sesn_b", sha256, 0, 0)).toBeUndefined();
});

it("says so when bytes are missing or others, and stops where an answer is full", async () => {
  const side = createMemorySideStore();
  const [kept] = await createBlobs(side).keep("sesn_a", [toolResult("y".repeat(chunkBytes + 9))]);
  if (kept === undefined) throw new Error("nothing kept");
  const holed = createBlobs({
    ...side,
    read: async (id, keys) => (await side.read(id, keys)).map((one, at) => (at === 1 ? undefined : one)),
  });
  await expect(holed.restore("sesn_a", [kept])).rejects.toMatchObject({ reason: "LOG_DAMAGED" });
  const other = createBlobs({
    ...side,
    read: async (id, keys) => (await side.read(id, keys)).map((one) => one?.map((byte, at) => (at === 9 ? 0 : byte))),
  });
  await expect(other.restore("sesn_a", [kept])).rejects.toMatchObject({ reason: "LOG_DAMAGED" });
  await expect(createBlobs(side).restore("sesn_b", [kept])).rejects.toMatchObject({ reason: "LOG_DAMAGED" });
  const many = await createBlobs(side).restore(
    "sesn_a",
    Array.from({ length: 60 }, () => kept),
  );
  const whole = many.filter((event) => resultText(event).length > chunkBytes).length;
  expect(whole).toBeGreaterThan(5);
  expect(whole).toBeLessThan(25);
});

it("appends results larger than a frame, and recognises their repeat by the whole content", async () => {
  const { log } = replicaOver(createMemoryEventStore());
  await log.create("sesn_big", append(created()), within());
  const big = (text: string) => ({ events: [toolResult(text)], requestId: "r", epoch: 0 });
  const text = "z".repeat(3_000_000);
  expect(await log.append("sesn_big", big(text), within())).toMatchObject({ duplicate: false, headPosition: 2 });
  expect(await log.append("sesn_big", big(text), within())).toMatchObject({ duplicate: true, headPosition: 2 });
  const middle = `${text.slice(0, 1_500_000)}!${text.slice(1_500_001)}`;
  await expect(log.append("sesn_big", big(middle), within())).rejects.toMatchObject({ reason: "ID_REUSED" });
  const message = append(userMessage("m".repeat(600_000), "sevt_m"));
  await expect(log.append("sesn_big", message, within())).rejects.toMatchObject({ reason: "TOO_LARGE" });
});
