/**
 * Encodes messages as the runtime does, byte for byte, into a buffer that is kept: the runtime's own `toBinary` begins
 * with an empty one for every message, and growing it costs more than writing. What is not common in our protos (maps,
 * lists of numbers, floats, well-known types that have a form of their own) is left to the runtime.
 */
import { type DescField, type DescMessage, type MessageShape, ScalarType, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

type Fields = Readonly<Record<string, unknown>>;
type Write = (writer: BinaryWriter, message: Fields) => void;
type WriteValue = (writer: BinaryWriter, value: unknown) => void;

/** A buffer that grew beyond this is not kept. */
const maxKeptBytes = 1024 * 1024;

let kept = new BinaryWriter();
const writers = new WeakMap<DescMessage, Write>();

/** The bytes that `toBinary` makes of the message. Throws what it throws. */
export function encodeMessage<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Uint8Array {
  const writer = kept;
  try {
    writerOf(schema)(writer, asFields(message));
    const bytes = writer.finish();
    if (bytes.length > maxKeptBytes) kept = new BinaryWriter();
    return bytes;
  } catch {
    kept = new BinaryWriter(); // half a message is in the other one
    return toBinary(schema, message); // says what is wrong with which field
  }
}

/** A message is read field by field, by names that come from its descriptor. */
function asFields(message: unknown): Fields {
  return message as Fields;
}

function writerOf(desc: DescMessage): Write {
  const known = writers.get(desc);
  if (known !== undefined) return known;
  const fields: Write[] = [];
  const write: Write = (writer, message) => {
    if (message.$typeName !== desc.typeName) throw new TypeError(`not a ${desc.typeName}`);
    for (const field of fields) field(writer, message);
    const { $unknown } = message as { readonly $unknown?: MessageShape<DescMessage>["$unknown"] };
    for (const { no, wireType, data } of $unknown ?? []) writer.tag(no, wireType).raw(data);
  };
  writers.set(desc, write); // before its fields, so that a message may hold itself
  const made = [...desc.fields].sort((a, b) => a.number - b.number).map(writeField);
  if (made.every((one) => one !== undefined)) {
    fields.push(...made);
    return write;
  }
  const byRuntime: Write = (writer, message) => void writer.raw(toBinary(desc, message as MessageShape<DescMessage>));
  writers.set(desc, byRuntime);
  return byRuntime;
}

/** Undefined for a field that is left to the runtime, together with its message. */
function writeField(field: DescField): Write | undefined {
  const name = field.localName;
  const value = writeValue(field);
  if (value === undefined || field.fieldKind === "map" || field.fieldKind === "enum") return undefined;
  if (field.fieldKind === "list") {
    return (writer, message) => {
      for (const item of message[name] as readonly unknown[]) value(writer, item);
    };
  }
  if (field.oneof !== undefined) {
    const { localName } = field.oneof;
    return (writer, message) => {
      const oneof = message[localName] as { readonly case?: string; readonly value?: unknown };
      if (oneof.case === name) value(writer, oneof.value);
    };
  }
  if (field.presence === FeatureSet_FieldPresence.IMPLICIT) {
    return (writer, message) => {
      const one = message[name];
      if (!isZero(one)) value(writer, one);
    };
  }
  return (writer, message) => {
    const one = message[name];
    if (one !== undefined) value(writer, one);
  };
}

function isZero(value: unknown): boolean {
  return (
    value === "" ||
    value === 0n ||
    value === 0 ||
    value === false ||
    (value instanceof Uint8Array && value.length === 0)
  );
}

function writeValue(field: DescField): WriteValue | undefined {
  const { number } = field;
  if (field.message !== undefined && field.fieldKind !== "map") {
    const { message } = field;
    if (message.typeName.startsWith("google.protobuf.") && message.typeName !== "google.protobuf.Timestamp")
      return undefined;
    let write: Write | undefined;
    return (writer, value) => {
      write ??= writerOf(message);
      writer.tag(number, WireType.LengthDelimited).fork();
      write(writer, asFields(value));
      writer.join();
    };
  }
  switch (field.scalar) {
    case ScalarType.STRING:
      return (writer, value) => void writer.tag(number, WireType.LengthDelimited).string(value as string);
    case ScalarType.BYTES:
      return (writer, value) => void writer.tag(number, WireType.LengthDelimited).bytes(value as Uint8Array);
    default:
      return field.fieldKind === "list" ? undefined : writeNumber(field);
  }
}

function writeNumber(field: DescField): WriteValue | undefined {
  const { number } = field;
  switch (field.scalar) {
    case ScalarType.BOOL:
      return (writer, value) => void writer.tag(number, WireType.Varint).bool(value as boolean);
    case ScalarType.UINT32:
      return (writer, value) => void writer.tag(number, WireType.Varint).uint32(value as number);
    case ScalarType.INT32:
      return (writer, value) => void writer.tag(number, WireType.Varint).int32(value as number);
    case ScalarType.UINT64:
      return (writer, value) => void writer.tag(number, WireType.Varint).uint64(value as bigint);
    case ScalarType.INT64:
      return (writer, value) => void writer.tag(number, WireType.Varint).int64(value as bigint);
    default:
      return undefined;
  }
}
