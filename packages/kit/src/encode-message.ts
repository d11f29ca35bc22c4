/**
 * Encodes messages as the runtime does, byte for byte, into a buffer that is kept: the runtime's own `toBinary` begins
 * with an empty one for every message, and copies what is in a message once for each message around it. What is not
 * common in our protos (maps, lists of numbers, floats, negative numbers, well-known types that have a form of their
 * own) is left to the runtime.
 */
import { type DescField, type DescMessage, type MessageShape, ScalarType, toBinary } from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

type Fields = Readonly<Record<string, unknown>>;
type Write = (writer: Writer, message: Fields) => void;
type WriteValue = (writer: Writer, value: unknown) => void;

const firstBytes = 16 * 1024;
/** A buffer that grew beyond this is not kept. */
const maxKeptBytes = 1024 * 1024;
/** Shorter texts are quicker written letter by letter. */
const shortText = 32;
/** Most messages within messages have a length that takes two bytes. */
const usualLengthBytes = 2;

/** How many bytes a number takes as a varint. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest /= 0x80) bytes += 1;
  return bytes;
}

/** A buffer that grows, and where it is written next. */
class Writer {
  #bytes = new Uint8Array(firstBytes);
  #text = Buffer.from(this.#bytes.buffer);
  #at = 0;

  begin(): void {
    this.#at = 0;
    if (this.#bytes.length > maxKeptBytes) this.#resize(firstBytes);
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  tag(field: number, wireType: WireType): void {
    this.varint(field * 8 + wireType);
  }

  varint(value: number): void {
    this.#reserve(10);
    this.#at = this.#putVarint(this.#at, value);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  string(value: string): void {
    this.#reserve(10 + value.length * 3);
    if (value.length < shortText && this.#shortString(value)) return;
    const guess = varintBytes(value.length);
    const written = this.#text.write(value, this.#at + guess, "utf8");
    this.#closeLength(this.#at, guess, written);
  }

  /** What `write` writes, with its length before it. */
  nested(write: Write, message: Fields): void {
    this.#reserve(10);
    const start = this.#at;
    this.#at += usualLengthBytes;
    write(this, message);
    this.#reserve(10);
    this.#closeLength(start, usualLengthBytes, this.#at - start - usualLengthBytes);
  }

  /** Writes letter by letter as long as they take a byte each; answers whether all of them did. */
  #shortString(value: string): boolean {
    let at = this.#at + 1;
    for (let index = 0; index < value.length; index += 1) {
      const code = value.charCodeAt(index);
      if (code >= 0x80) return false;
      this.#bytes[at++] = code;
    }
    this.#bytes[this.#at] = value.length;
    this.#at = at;
    return true;
  }

  /** Puts a length before what was written behind a guess at how many bytes the length takes. */
  #closeLength(start: number, guess: number, length: number): void {
    const behind = start + guess;
    const size = varintBytes(length);
    if (size !== guess) this.#bytes.copyWithin(start + size, behind, behind + length);
    this.#putVarint(start, length);
    this.#at = start + size + length;
  }

  #putVarint(start: number, value: number): number {
    let at = start;
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#bytes[at++] = (rest % 0x80) + 0x80;
    this.#bytes[at++] = rest;
    return at;
  }

  #reserve(more: number): void {
    if (this.#at + more > this.#bytes.length) this.#resize(Math.max(2 * this.#bytes.length, this.#at + more));
  }

  #resize(length: number): void {
    const bytes = new Uint8Array(length);
    bytes.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = bytes;
    this.#text = Buffer.from(bytes.buffer);
  }
}

const writer = new Writer();
const writers = new WeakMap<DescMessage, Write>();

/** The bytes that `toBinary` makes of the message. Throws what it throws. */
export function encodeMessage<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Uint8Array {
  try {
    writer.begin();
    writerOf(schema)(writer, asFields(message));
    return writer.finish();
  } catch {
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
    for (const { no, wireType, data } of $unknown ?? []) {
      writer.tag(no, wireType);
      writer.raw(data);
    }
  };
  writers.set(desc, write); // before its fields, so that a message may hold itself
  const made = [...desc.fields].sort((a, b) => a.number - b.number).map(writeField);
  if (made.every((one) => one !== undefined)) {
    fields.push(...made);
    return write;
  }
  const byRuntime: Write = (writer, message) => writer.raw(toBinary(desc, message as MessageShape<DescMessage>));
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
      writer.tag(number, WireType.LengthDelimited);
      writer.nested(write, asFields(value));
    };
  }
  switch (field.scalar) {
    case ScalarType.STRING:
      return (writer, value) => {
        if (typeof value !== "string") throw new TypeError("not a string");
        writer.tag(number, WireType.LengthDelimited);
        writer.string(value);
      };
    case ScalarType.BYTES:
      return (writer, value) => {
        if (!(value instanceof Uint8Array)) throw new TypeError("not bytes");
        writer.tag(number, WireType.LengthDelimited);
        writer.varint(value.length);
        writer.raw(value);
      };
    default:
      return field.fieldKind === "list" ? undefined : writeNumber(field);
  }
}

const maxOf = new Map<ScalarType | undefined, number>([
  [ScalarType.BOOL, 1],
  [ScalarType.UINT32, 0xffff_ffff],
  [ScalarType.INT32, 0x7fff_ffff],
  [ScalarType.UINT64, Number.MAX_SAFE_INTEGER],
  [ScalarType.INT64, Number.MAX_SAFE_INTEGER],
]);
const typeOf = new Map<ScalarType | undefined, string>([
  [ScalarType.BOOL, "boolean"],
  [ScalarType.UINT64, "bigint"],
  [ScalarType.INT64, "bigint"],
]);

/** Whole numbers that are neither negative nor beyond what a number holds exactly; the others are the runtime's. */
function writeNumber(field: DescField): WriteValue | undefined {
  const { number } = field;
  const max = maxOf.get(field.scalar);
  const type = typeOf.get(field.scalar) ?? "number";
  if (max === undefined) return undefined;
  return (writer, value) => {
    const one = Number(value);
    if (typeof value !== type || !Number.isInteger(one) || one < 0 || one > max) throw new RangeError("not so simple");
    writer.tag(number, WireType.Varint);
    writer.varint(one);
  };
}
