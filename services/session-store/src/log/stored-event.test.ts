import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Event, EventSchema, FrameSchema } from "@manyhands/protocol";
import { expect, it } from "vitest";
import { agentMessage } from "../testing/service.ts";
import { placeFrame } from "./stored-event.ts";

function stored(events: Event[], firstPosition = 7, tail: number[] = []) {
  const frame = create(FrameSchema, { id: "frm_1", firstPosition: BigInt(firstPosition), events });
  const payload = new Uint8Array([...toBinary(FrameSchema, frame), ...tail]);
  return { sessionId: "sesn_p", frame: 3, payload, position: firstPosition, count: events.length, sequence: 1 };
}

const longAgo = 1_700_000_000_123;

it("says of each event where it is, what and when, and passes its bytes on", () => {
  const events = ["a", "ü".repeat(300)].map((text, n) =>
    Object.assign(agentMessage(text, `sevt_${n}`), { createdAt: timestampFromMs(longAgo), position: BigInt(7 + n) }),
  );
  const placed = placeFrame(stored(events));
  expect([placed.first, placed.end]).toEqual([7, 9]);
  expect(placed.events.map(({ id, type, position, atMs }) => [id, type, position, atMs])).toEqual([
    ["sevt_0", "agent.message", 7, longAgo],
    ["sevt_1", "agent.message", 8, longAgo],
  ]);
  for (const [n, event] of events.entries()) {
    expect(placed.events[n]?.decode()).toEqual(event);
    expect(new Uint8Array(placed.events[n]?.bytes ?? [])).toEqual(toBinary(EventSchema, event));
  }
});

it("passes over fields of every kind that nobody knows", () => {
  const unknown = [
    0xf8, 0x7f, 0x96, 0x01, 0xf9, 0x7f, 1, 2, 3, 4, 5, 6, 7, 8, 0xfa, 0x7f, 2, 1, 2, 0xfd, 0x7f, 1, 2, 3, 4,
  ];
  expect(placeFrame(stored([agentMessage("a", "sevt_1")], 2 ** 40, unknown))).toMatchObject({
    first: 2 ** 40,
    end: 2 ** 40 + 1,
  });
});

it("says which frame is damaged when its bytes are none", () => {
  for (const tail of [[0x12, 0x7f], [0x0b], [0x00, 0x01], [0x0d, 1], Array.from({ length: 12 }, () => 0xff)]) {
    expect(() => placeFrame(stored([agentMessage("a", "sevt_1")], 0, tail))).toThrow("damaged at frame 3");
  }
});
