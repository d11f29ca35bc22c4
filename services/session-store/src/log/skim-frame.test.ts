import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Event, FrameSchema } from "@manyhands/protocol";
import fc from "fast-check";
import { expect, it } from "vitest";
import { created } from "../testing/log.ts";
import { agentMessage, idle, userMessage, woken } from "../testing/service.ts";
import { decodeFrame, foldFrame } from "./hot-session.ts";
import { skimFrame } from "./skim-frame.ts";

const kinds: readonly ((n: number) => Event)[] = [
  (n) => agentMessage("text", `sevt_${n}`),
  (n) => userMessage("text", `sevt_${n}`),
  () => idle(),
  (n) => woken(n),
];

it("folds to the same header as the whole frame, event by event", () => {
  const first = { sessionId: "sesn_s", frame: 0, payload: framed([created()], 0) };
  const start = foldFrame(undefined, decodeFrame(first));
  expect(foldFrame(undefined, skimFrame(first))).toEqual(start);
  fc.assert(
    fc.property(fc.array(fc.nat(kinds.length - 1), { minLength: 1, maxLength: 64 }), (list) => {
      const events = list.map((kind, n) => kinds[kind]?.(n + 1) ?? idle());
      const stored = { sessionId: "sesn_s", frame: 1, payload: framed(events, 1) };
      const whole = decodeFrame(stored);
      const oneByOne = whole.events.reduce(
        (header, event) => foldFrame(header, create(FrameSchema, { events: [event] })),
        start,
      );
      expect(foldFrame(start, whole)).toEqual(oneByOne);
      expect(foldFrame(start, skimFrame(stored))).toEqual(oneByOne);
      expect(skimFrame(stored).firstPosition).toBe(1n);
    }),
  );
});

it("says that bytes which are no frame are damage", () => {
  const payload = new Uint8Array([0xff, 0xff, 0xff]);
  expect(() => skimFrame({ sessionId: "sesn_s", frame: 3, payload })).toThrow(/damaged at frame 3/);
});

function framed(events: readonly Event[], position: number): Uint8Array {
  const stamped = events.map((event, offset) =>
    Object.assign(event, {
      position: BigInt(position + offset),
      createdAt: timestampFromMs(1_700_000_000_123 + offset),
      epoch: BigInt(offset % 3),
    }),
  );
  return toBinary(FrameSchema, create(FrameSchema, { firstPosition: BigInt(position), events: stamped }));
}
