import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect, type EchoBed, failureOfCall, startEcho } from "./testing/echo.ts";

describe("the four call kinds", () => {
  let bed: EchoBed;
  beforeAll(async () => {
    bed = await startEcho();
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  const text = fc.string({ unit: "grapheme", maxLength: 200 });
  const payload = fc.uint8Array({ maxLength: 5000 });
  const runs = { numRuns: 40 };

  test("unary answers what was sent", async () => {
    await fc.assert(
      fc.asyncProperty(text, payload, async (sent, bytes) => {
        const answer = await bed.client.echoOnce({ text: sent, payload: bytes });
        expect(answer.text).toBe(sent);
        expect(Buffer.from(answer.payload).equals(Buffer.from(bytes))).toBe(true);
      }),
      runs,
    );
  });

  test("a server stream arrives whole and in order", async () => {
    await fc.assert(
      fc.asyncProperty(text, fc.integer({ min: 0, max: 120 }), async (sent, count) => {
        const answers = await collect(bed.client.echoMany({ text: sent, count }));
        expect(answers.map(({ index }) => index)).toEqual(Array.from({ length: count }, (_, index) => index));
        expect(answers.every((answer) => answer.text === sent)).toBe(true);
      }),
      runs,
    );
  });

  test("a client stream arrives whole and in order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 60 }), async (texts) => {
        const answer = await bed.client.echoJoined(stream(texts));
        expect(answer.text).toBe(texts.join(""));
        expect(answer.index).toBe(texts.length);
      }),
      runs,
    );
  });

  test("a bidirectional stream answers each message in order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 60 }), async (texts) => {
        const answers = await collect(bed.client.echoEach(stream(texts)));
        expect(answers.map((answer) => answer.text)).toEqual(texts);
      }),
      runs,
    );
  });

  test("a bidirectional stream can be a conversation", async () => {
    const questions = ["a", "b", "c"];
    const { readable, writable } = new TransformStream<{ text: string }, { text: string }>();
    const writer = writable.getWriter();
    const answers = bed.client.echoEach(readable)[Symbol.asyncIterator]();
    for (const question of questions) {
      const next = answers.next();
      await writer.write({ text: question });
      expect((await next).value?.text).toBe(question);
    }
    const last = answers.next();
    await writer.close();
    expect((await last).done).toBe(true);
  });

  test("a method without a handler says that it is not served yet", async () => {
    const error = await failureOfCall(bed.client.echoLater({ text: "x" }));
    expect(error.kind).toBe("unimplemented");
    expect(error.message).toBe("manyhands.testing.v1.EchoService/EchoLater is not served yet");
  });

  test("calls are counted by method and code on both sides", async () => {
    const text = await bed.metrics.registry.metrics();
    expect(text).toMatch(
      /mh_rpc_served_total\{method="\/manyhands\.testing\.v1\.EchoService\/EchoLater",code="UNIMPLEMENTED"\} 1/,
    );
    expect(text).toMatch(
      /mh_rpc_called_total\{method="\/manyhands\.testing\.v1\.EchoService\/EchoOnce",code="OK"\} \d+/,
    );
  });
});

async function* stream(texts: readonly string[]) {
  for (const text of texts) {
    yield { text };
  }
}
