import fc from "fast-check";
import { expect, test } from "vitest";
import { CLEAR_LINE, createFrameDecoder, encodeFrame, MAX_PAYLOAD_BYTES } from "./frames.ts";

/** Feeds a stream in pieces of the given sizes. */
function decode(stream: Buffer, pieces: readonly number[]): { payloads: Buffer[]; damaged: number } {
  const payloads: Buffer[] = [];
  let damaged = 0;
  const feed = createFrameDecoder(
    (payload) => payloads.push(Buffer.from(payload)),
    () => damaged++,
  );
  let at = 0;
  for (const size of pieces) {
    feed(stream.subarray(at, at + size));
    at += size;
  }
  feed(stream.subarray(at));
  return { payloads, damaged };
}

const payload = fc.uint8Array({ minLength: 1, maxLength: 300 });
/** Many of the two special bytes, which random bytes seldom are. */
const nasty = fc
  .array(fc.constantFrom(0x7d, 0x7e, 0x5d, 0x5e, 0x20, 0), { minLength: 1, maxLength: 100 })
  .map((bytes) => Uint8Array.from(bytes));
const pieces = fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 40 });

test("frames come out as they went in, however the stream is cut", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(payload, nasty), { maxLength: 10 }), pieces, (sent, cuts) => {
      const { payloads, damaged } = decode(Buffer.concat(sent.map(encodeFrame)), cuts);
      expect(damaged).toBe(0);
      expect(payloads.map((one) => [...one])).toEqual(sent.map((one) => [...one]));
    }),
  );
});

test("a writer that dies in the middle of a frame costs that frame only", () => {
  fc.assert(
    fc.property(payload, payload, fc.nat(), pieces, (lost, kept, cut, cuts) => {
      const whole = encodeFrame(lost);
      const half = whole.subarray(0, 1 + (cut % (whole.length - 1)));
      const { payloads } = decode(Buffer.concat([half, CLEAR_LINE, encodeFrame(kept)]), cuts);
      expect(payloads.map((one) => [...one])).toEqual([
        ...(half.length === whole.length - 1 ? [[...lost]] : []),
        [...kept],
      ]);
    }),
  );
});

test("a changed byte never yields a payload that was not sent", () => {
  fc.assert(
    fc.property(payload, payload, fc.nat(), fc.integer({ min: 1, max: 255 }), (one, two, place, flip) => {
      const stream = Buffer.concat([encodeFrame(one), encodeFrame(two)]);
      const at = place % stream.length;
      stream.writeUInt8((stream[at] ?? 0) ^ flip, at);
      for (const got of decode(stream, []).payloads) expect([[...one], [...two]]).toContainEqual([...got]);
    }),
  );
});

test("an endless frame is forgotten, not kept, and the next one is read", () => {
  const { payloads, damaged } = decode(
    Buffer.concat([Buffer.alloc(4 * MAX_PAYLOAD_BYTES, 65), CLEAR_LINE, encodeFrame(Buffer.from("next"))]),
    Array.from({ length: 300 }, () => 1000),
  );
  expect(damaged).toBe(1);
  expect(payloads.map(String)).toEqual(["next"]);
});

test("a payload beyond the bound is refused before it is sent", () => {
  expect(() => encodeFrame(new Uint8Array(MAX_PAYLOAD_BYTES + 1))).toThrow(/65536/);
});
