/** Answers made of stored events, whose bytes are passed on as they are. */
import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { Encoded, encodeMessage, varintBytes } from "@manyhands/kit";
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
  return new Encoded(schema, asFields(field, events, encodeMessage(schema, rest)));
}

/** One event of a watch. */
export class WatchedEvent extends Encoded<typeof WatchEventsResponseSchema> {
  readonly position: number;

  constructor({ bytes, position }: StoredEvent) {
    super(WatchEventsResponseSchema, asFields(watchField, [{ bytes }], nothing));
    this.position = position;
  }
}

const nothing = new Uint8Array();

/** A message that holds the events in a field with a number below 16, and then what is encoded already. */
function asFields(field: number, events: readonly Pick<StoredEvent, "bytes">[], rest: Uint8Array): Uint8Array {
  let size = rest.length;
  for (const { bytes } of events) size += 1 + varintBytes(bytes.length) + bytes.length;
  const message = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { bytes } of events) {
    message[at++] = field * 8 + WireType.LengthDelimited;
    let length = bytes.length;
    for (; length >= 0x80; length = Math.floor(length / 0x80)) message[at++] = (length % 0x80) + 0x80;
    message[at++] = length;
    message.set(bytes, at);
    at += bytes.length;
  }
  message.set(rest, at);
  return message;
}
