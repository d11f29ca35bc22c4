/**
 * Reads of a frame only what folding a header takes: most events move the head and nothing else, and decoding their
 * payloads to throw them away would cost most of an index's time.
 */
import { create, fromBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { needsPayload } from "@manyhands/core";
import { type Event, EventSchema, type Frame, FrameSchema } from "@manyhands/protocol";
import type { StoredFrame } from "../store/event-store.ts";
import { logDamaged } from "./errors.ts";

const frameFields = { events: FrameSchema.field.events.number, firstPosition: FrameSchema.field.firstPosition.number };
const eventFields = {
  id: EventSchema.field.id.number,
  type: EventSchema.field.type.number,
  position: EventSchema.field.position.number,
  createdAt: EventSchema.field.createdAt.number,
  epoch: EventSchema.field.epoch.number,
};

/**
 * The frame with its first position and its events, each with its envelope and, where the fold needs it, its payload;
 * nothing else is set. Throws LOG_DAMAGED when the bytes are no frame.
 */
export function skimFrame(stored: Pick<StoredFrame, "sessionId" | "frame" | "payload">): Frame {
  try {
    const reader = new BinaryReader(stored.payload);
    const frame = create(FrameSchema);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === frameFields.events) frame.events.push(skimEvent(reader.bytes()));
      else if (field === frameFields.firstPosition) frame.firstPosition = BigInt(reader.uint64());
      else reader.skip(wireType, field);
    }
    return frame;
  } catch {
    throw logDamaged(stored.sessionId, stored.frame, "its bytes are no frame");
  }
}

function skimEvent(bytes: Uint8Array): Event {
  const reader = new BinaryReader(bytes);
  const event = create(EventSchema);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === eventFields.id) event.id = reader.string();
    else if (field === eventFields.type) event.type = reader.string();
    else if (field === eventFields.position) event.position = BigInt(reader.uint64());
    else if (field === eventFields.createdAt) event.createdAt = fromBinary(TimestampSchema, reader.bytes());
    else if (field === eventFields.epoch) event.epoch = BigInt(reader.uint64());
    else reader.skip(wireType, field);
  }
  return needsPayload(event.type) ? fromBinary(EventSchema, bytes) : event;
}
