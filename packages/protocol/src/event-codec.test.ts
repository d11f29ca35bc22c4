import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { clientEventTypes, type NewEvent, platformEventTypes, type SessionEvent } from "@manyhands/core";
import { describe, expect, it } from "vitest";
import { decodeEvent, encodeEvent, wireEventTypes } from "./event-codec.ts";
import { EventSchema } from "./gen/manyhands/events/v1/event_pb.ts";
import { CodecError } from "./plain-codec.ts";

const stored = { id: "sevt_1", position: 7, at: 1_700_000_000_123, epoch: 2 };

function roundTrip(event: SessionEvent) {
  return decodeEvent(fromBinary(EventSchema, toBinary(EventSchema, encodeEvent(event))));
}

describe("event codec", () => {
  it("carries a message with every kind of block", () => {
    const event: SessionEvent = {
      ...stored,
      type: "user.message",
      content: [
        { type: "text", text: "héllo" },
        { type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } },
        { type: "document", source: { type: "url", url: "https://example.org/a.pdf" }, title: "a" },
        { type: "redacted" },
      ],
    };
    expect(roundTrip(event)).toEqual(event);
  });

  it("carries free-form tool input as JSON", () => {
    const event: SessionEvent = {
      ...stored,
      type: "agent.tool_use",
      name: "bash",
      input: { command: "echo 'a\u2028b'", nested: { list: [1, null, true] } },
      evaluated_permission: "allow",
      evaluation: { type: "always_allow" },
    };
    expect(roundTrip(event)).toEqual(event);
  });

  it("keeps is_error apart from absent", () => {
    const base = {
      ...stored,
      type: "agent.tool_result",
      tool_use_id: "sevt_0",
      outcome: "COMPLETED",
      hand_id: "",
    } as const;
    expect(roundTrip({ ...base, content: [], is_error: false })).toEqual({ ...base, content: [], is_error: false });
    expect(roundTrip({ ...base, content: [] })).toEqual({ ...base, content: [] });
  });

  it("carries thread events whose payload names the thread too", () => {
    const event: SessionEvent = {
      ...stored,
      type: "session.thread_status_running",
      session_thread_id: "sthr_1",
      agent_name: "a",
    };
    expect(roundTrip(event)).toEqual(event);
  });

  it("gives back a type it does not know byte for byte", () => {
    const wire = create(EventSchema, { id: "sevt_9", type: "future.thing", position: 3n, epoch: 1n });
    wire.$unknown = [{ no: 999, wireType: 2, data: new Uint8Array([2, 104, 105]) }];
    const bytes = toBinary(EventSchema, wire);
    const event = decodeEvent(fromBinary(EventSchema, bytes));
    expect(event.type).toBe("future.thing");
    expect(toBinary(EventSchema, encodeEvent(event))).toEqual(bytes);
  });

  it("names the field that does not fit", () => {
    const wrong = { id: "sevt_1", type: "user.message", content: [{ type: "texte", text: "x" }] };
    expect(() => encodeEvent(wrong as unknown as NewEvent)).toThrow(CodecError); // a wrong shape needs the cast
    expect(() => encodeEvent(wrong as unknown as NewEvent)).toThrow(/content\[0\]\.type: must be one of text, image/);
  });

  it("has a payload for every type the core names", () => {
    for (const type of [...clientEventTypes, ...platformEventTypes]) expect(wireEventTypes).toContain(type);
    expect(wireEventTypes).toHaveLength(59);
  });
});
