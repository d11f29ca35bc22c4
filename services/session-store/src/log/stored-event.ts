/**
 * Events as they are stored. Whoever reads the log mostly passes events on: their bytes go out as they lie in the frame,
 * and only what a reader filters by is looked at. Decoding and encoding them again cost more than reading them.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { type Event, EventSchema, FrameSchema } from "@manyhands/protocol";
import type { StoredFrame } from "../store/event-store.ts";
import { logDamaged } from "./errors.ts";
import { WireCursor } from "./wire-cursor.ts";

const frameFields = { events: FrameSchema.field.events.number, firstPosition: FrameSchema.field.firstPosition.number };
const eventFields = {
  id: EventSchema.field.id.number,
  type: EventSchema.field.type.number,
  createdAt: EventSchema.field.createdAt.number,
};

/** One stored event. */
export class StoredEvent {
  /** Encoded `manyhands.events.v1.Event`. */
  readonly bytes: Uint8Array;
  readonly position: number;
  #id = "";
  #type = "";
  #atMs = 0;
  #isSkimmed = false;

  constructor(bytes: Uint8Array, position: number) {
    this.bytes = bytes;
    this.position = position;
  }

  get id(): string {
    this.#skim();
    return this.#id;
  }

  get type(): string {
    this.#skim();
    return this.#type;
  }

  /** When it was stored, milliseconds since 1970. */
  get atMs(): number {
    this.#skim();
    return this.#atMs;
  }

  /** The whole event. Throws when the bytes are none. */
  decode(): Event {
    return fromBinary(EventSchema, this.bytes);
  }

  #skim(): void {
    if (this.#isSkimmed) return;
    this.#isSkimmed = true;
    const cursor = new WireCursor(this.bytes);
    while (cursor.next()) {
      if (cursor.field === eventFields.type) this.#type = cursor.text();
      else if (cursor.field === eventFields.id) this.#id = cursor.text();
      else if (cursor.field === eventFields.createdAt) this.#atMs = timestampOf(cursor.bytes());
      else cursor.skip();
    }
  }
}

/** A stored frame and the events in it. */
export interface PlacedFrame<Stored = StoredFrame> {
  readonly stored: Stored;
  readonly events: readonly StoredEvent[];
  /** Position of the first event. */
  readonly first: number;
  /** Position after the last one. */
  readonly end: number;
}

/** Where a frame lies and what is in it; no event is decoded. Throws LOG_DAMAGED when the bytes are no frame. */
export function placeFrame<Stored extends Pick<StoredFrame, "sessionId" | "frame" | "payload">>(
  stored: Stored,
): PlacedFrame<Stored> {
  try {
    const cursor = new WireCursor(stored.payload);
    const parts: Uint8Array[] = [];
    let first = 0;
    while (cursor.next()) {
      if (cursor.field === frameFields.events) parts.push(cursor.bytes());
      else if (cursor.field === frameFields.firstPosition) first = cursor.number();
      else cursor.skip();
    }
    const events = parts.map((bytes, offset) => new StoredEvent(bytes, first + offset));
    return { stored, events, first, end: first + events.length };
  } catch {
    throw logDamaged(stored.sessionId, stored.frame, "its bytes are no frame");
  }
}

/** Milliseconds of an encoded timestamp: seconds are field 1, nanoseconds field 2. */
function timestampOf(bytes: Uint8Array): number {
  const cursor = new WireCursor(bytes);
  let ms = 0;
  while (cursor.next()) {
    if (cursor.field === 1) ms += cursor.number() * 1000;
    else if (cursor.field === 2) ms += cursor.number() / 1e6;
    else cursor.skip();
  }
  return ms;
}
