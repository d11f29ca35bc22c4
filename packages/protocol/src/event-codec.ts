/**
 * Wire event ↔ core event: the only place that knows both, and the only upcaster. An event whose payload this version
 * does not know becomes an UnknownEvent that holds its wire bytes and turns back into exactly those.
 */
import { create, type DescField, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { NewEvent, SessionEvent, UnknownEvent } from "@manyhands/core";
import { type Event, EventSchema } from "./gen/manyhands/events/v1/event_pb.ts";
import { CodecError, fromPlain, type Plain, toPlain } from "./plain-codec.ts";

const payload = EventSchema.oneofs.find((oneof) => oneof.name === "payload");
const prefixes = [
  "workflow_run",
  "user",
  "system",
  "agent",
  "session",
  "span",
  "brain",
  "operation",
  "hand",
  "push",
  "context",
  "credential",
];
const fieldByType = new Map<string, DescField>((payload?.fields ?? []).map((field) => [typeOf(field.name), field]));

/** Every event type that the wire catalogue has a payload for. */
export const wireEventTypes: readonly string[] = [...fieldByType.keys()];

function typeOf(fieldName: string): string {
  const prefix = prefixes.find((candidate) => fieldName.startsWith(`${candidate}_`));
  if (prefix === undefined) throw new Error(`event field ${fieldName} has no known prefix`);
  return `${prefix}.${fieldName.slice(prefix.length + 1)}`;
}

/** The core event of a wire event. Types unknown to this version come back as UnknownEvent. */
export function decodeEvent(wire: Event): SessionEvent | UnknownEvent {
  const envelope = {
    id: wire.id,
    position: Number(wire.position),
    at: wire.createdAt === undefined ? 0 : timestampMs(wire.createdAt),
    epoch: Number(wire.epoch),
    ...(wire.sessionThreadId === "" ? {} : { session_thread_id: wire.sessionThreadId }),
  };
  const field = fieldByType.get(wire.type);
  if (field?.fieldKind !== "message" || wire.payload.case === undefined) {
    return { ...envelope, type: wire.type, unknown: toBinary(EventSchema, wire) };
  }
  const body = toPlain(field.message, wire.payload.value);
  return { ...body, ...envelope, type: wire.type } as SessionEvent; // shape proven by the catalogue test
}

/** The wire event of a core event, stored or new. Throws CodecError naming the field that does not fit. */
export function encodeEvent(event: SessionEvent | UnknownEvent | NewEvent): Event {
  if ("unknown" in event) return fromBinary(EventSchema, event.unknown);
  const field = fieldByType.get(event.type);
  if (field?.fieldKind !== "message") throw new CodecError("type", `${event.type} is not in the catalogue`);
  const wire = create(EventSchema, envelopeOf(event));
  const { session_thread_id, ...body } = event as Plain; // the payload is whatever is not envelope
  const own = field.message.fields.some((candidate) => candidate.name === "session_thread_id");
  reflect(EventSchema, wire, false).set(
    field,
    reflect(field.message, fromPlain(field.message, own ? { ...body, session_thread_id } : body), false),
  );
  return wire;
}

function envelopeOf(event: SessionEvent | NewEvent): MessageInitShape<typeof EventSchema> {
  return {
    id: event.id,
    type: event.type,
    sessionThreadId: event.session_thread_id ?? "",
    ...("position" in event && typeof event.position === "number" && "at" in event
      ? {
          position: BigInt(event.position),
          createdAt: timestampFromMs(event.at),
          epoch: BigInt(event.epoch),
        }
      : {}),
  };
}
