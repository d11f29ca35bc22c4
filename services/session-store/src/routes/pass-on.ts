/** Answers made of stored events, whose bytes are passed on as they are. */
import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Encoded, encodeMessage } from "@manyhands/kit";
import { EmitEventsResponseSchema, GetEventsResponseSchema, WatchEventsResponseSchema } from "@manyhands/protocol";
import type { StoredEvent } from "../log/stored-event.ts";

const pageField = GetEventsResponseSchema.field.events.number;
const emittedField = EmitEventsResponseSchema.field.events.number;
const watchField = WatchEventsResponseSchema.field.event.number;

/** A page of events; `rest` is everything else that the answer says. */
export function pageOfEvents(
  events: readonly StoredEvent[],
  rest: MessageInitShape<typeof GetEventsResponseSchema>,
): Encoded<typeof GetEventsResponseSchema> {
  return withEvents(GetEventsResponseSchema, pageField, events, create(GetEventsResponseSchema, rest));
}

/** The events of an append as they were just stored. */
export function emittedEvents(
  events: readonly StoredEvent[],
  rest: MessageInitShape<typeof EmitEventsResponseSchema>,
): Encoded<typeof EmitEventsResponseSchema> {
  return withEvents(EmitEventsResponseSchema, emittedField, events, create(EmitEventsResponseSchema, rest));
}

/** A message with these events in one of its fields, and everything else that it says. */
function withEvents<Desc extends DescMessage>(
  schema: Desc,
  field: number,
  events: readonly StoredEvent[],
  rest: MessageShape<Desc>,
): Encoded<Desc> {
  const writer = new BinaryWriter();
  for (const { bytes } of events) writer.tag(field, WireType.LengthDelimited).bytes(bytes);
  return new Encoded(schema, writer.raw(encodeMessage(schema, rest)).finish());
}

/** One event of a watch. */
export class WatchedEvent extends Encoded<typeof WatchEventsResponseSchema> {
  readonly position: number;

  constructor({ bytes, position }: StoredEvent) {
    super(WatchEventsResponseSchema, asField(watchField, bytes));
    this.position = position;
  }
}

/** A message that holds nothing but one length-delimited field with a number below 16. */
function asField(field: number, value: Uint8Array): Uint8Array {
  const head = [field * 8 + WireType.LengthDelimited];
  let length = value.length;
  for (; length >= 0x80; length = Math.floor(length / 0x80)) head.push((length % 0x80) + 0x80);
  head.push(length);
  const bytes = Buffer.allocUnsafe(head.length + value.length);
  for (const [at, byte] of head.entries()) bytes[at] = byte;
  bytes.set(value, head.length);
  return bytes;
}
