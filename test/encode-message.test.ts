import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { create, type DescMessage, type DescService, fromBinary, toBinary } from "@bufbuild/protobuf";
import { encodeMessage } from "@manyhands/kit";
import * as protocol from "@manyhands/protocol";
import { EventSchema, FrameSchema, SessionStatusRunningSchema } from "@manyhands/protocol";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sampleMessage } from "../packages/protocol/src/testing/sample-message.ts";

const root = fileURLToPath(new URL("../packages/protocol/testdata/", import.meta.url));
const golden = readdirSync(root).flatMap((folder) =>
  readdirSync(`${root}${folder}`)
    .filter((name) => name.endsWith(".bin"))
    .map((name) => new Uint8Array(readFileSync(`${root}${folder}/${name}`))),
);
const payloads = EventSchema.oneofs[0]?.fields.length ?? 0;
const exported: readonly unknown[] = Object.values(protocol);
const isService = (one: unknown): one is DescService =>
  typeof one === "object" && one !== null && "kind" in one && one.kind === "service";
const services = exported.filter(isService);
const messages: readonly DescMessage[] = services.flatMap(({ methods }) =>
  methods.flatMap(({ input, output }) => [input, output]),
);

/** An event of that kind of payload, with every field set. */
const eventOf = (member: number) => sampleMessage(EventSchema, 0, member);

describe("encoding", () => {
  it("makes the bytes of the runtime of every event, request and answer", () => {
    expect(payloads).toBeGreaterThan(50);
    for (let member = 0; member < payloads; member += 1) {
      const event = eventOf(member) as ReturnType<typeof create<typeof EventSchema>>;
      expect(encodeMessage(EventSchema, event)).toEqual(toBinary(EventSchema, event));
    }
    expect(messages.length).toBeGreaterThan(150);
    for (const desc of messages) {
      const message = sampleMessage(desc);
      expect(encodeMessage(desc, message)).toEqual(toBinary(desc, message));
    }
  });

  it("keeps what older and newer versions wrote, with fields that are not known", () => {
    expect(golden.length).toBeGreaterThan(50);
    for (const bytes of golden) {
      const event = fromBinary(EventSchema, bytes);
      expect(encodeMessage(EventSchema, event)).toEqual(toBinary(EventSchema, event));
      const stranger = fromBinary(SessionStatusRunningSchema, bytes); // it has no fields, so that all of them are unknown
      expect(encodeMessage(SessionStatusRunningSchema, stranger)).toEqual(
        toBinary(SessionStatusRunningSchema, stranger),
      );
    }
  });

  it("makes the bytes of the runtime of frames of any texts and numbers, one after the other", () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: "binary", maxLength: 300 }), fc.string({ minLength: 100 }));
    const event = fc.record({ id: text, text, position: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), nanos: fc.nat() });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 8 }), fc.uint8Array({ maxLength: 40 }), (events, previousHash) => {
        const frame = create(FrameSchema, {
          previousHash,
          events: events.map((one) => ({
            id: one.id,
            position: one.position,
            createdAt: { seconds: one.position / 2n, nanos: one.nanos },
            payload: {
              case: "agentMessage" as const,
              value: { content: [{ kind: { case: "text" as const, value: { text: one.text } } }] },
            },
          })),
        });
        expect(encodeMessage(FrameSchema, frame)).toEqual(toBinary(FrameSchema, frame));
      }),
    );
  });

  it("makes the bytes of the runtime where lengths begin to take another byte, and with letters of any width", () => {
    const lengths = [0, 1, 31, 32, 126, 127, 128, 129, 16_381, 16_382, 16_383, 16_384, 2_097_151, 2_097_152, 3];
    for (const letter of ["a", "é", "漢", "😀", "\ud800"]) {
      for (const length of lengths) {
        const text = letter.repeat(Math.ceil(length / letter.length)).slice(0, length);
        const payload = {
          case: "agentMessage" as const,
          value: { content: [{ kind: { case: "text" as const, value: { text } } }] },
        };
        const event = create(EventSchema, { id: text.slice(0, 40), payload });
        expect(Buffer.compare(encodeMessage(EventSchema, event), toBinary(EventSchema, event))).toBe(0);
      }
    }
  });

  it("says like the runtime what cannot be encoded, and goes on", () => {
    const good = create(EventSchema, { id: "sevt_1" });
    const bad = create(EventSchema, { position: -1n });
    expect(() => encodeMessage(EventSchema, bad)).toThrow(/Event\.position/);
    expect(() => encodeMessage(FrameSchema, good as never)).toThrow(/cannot use/);
    expect(encodeMessage(EventSchema, good)).toEqual(toBinary(EventSchema, good));
  });
});
