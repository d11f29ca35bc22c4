/**
 * Protobuf messages ↔ plain snake_case objects, driven by descriptors, so that a new event needs no code here.
 *
 * Rules: field names are the proto's own; a message whose only oneof is `kind` is a union tagged by `type`; a `bytes`
 * field `x_json` is `x` as JSON; 64-bit integers are numbers and must be safe integers; absent optional fields and
 * empty optional messages are left out; implicit scalars always appear.
 */
import { create, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

/** A plain object made from a message. */
export type Plain = Record<string, unknown>;

const utf8 = { decode: new TextDecoder("utf-8", { fatal: true }), encode: new TextEncoder() };
const jsonSuffix = "_json";

/** A value does not fit the message it is meant for. `path` names the field. */
export class CodecError extends Error {
  readonly path: string;
  constructor(path: string, problem: string) {
    super(`${path || "value"}: ${problem}`);
    this.name = "CodecError";
    this.path = path;
  }
}

/** The plain form of a message. Unknown fields are not carried: keep the bytes when they must survive. */
export function toPlain(desc: DescMessage, message: Message): Plain {
  return plainOf(reflect(desc, message, false));
}

/** The message of a plain object. Throws CodecError naming the field that does not fit. */
export function fromPlain<Desc extends DescMessage>(desc: Desc, plain: Plain, path = ""): Message<Desc["typeName"]> {
  const message = create(desc);
  fill(reflect(desc, message, false), plain, path);
  return message as Message<Desc["typeName"]>; // create() of a DescMessage is typed by shape, not by name
}

function plainOf(message: ReflectMessage): Plain {
  const union = unionOf(message.desc);
  const out: Plain = {};
  for (const field of message.desc.fields) {
    if (union !== undefined && field.oneof === union) {
      if (message.isSet(field)) return { type: field.name, ...plainOf(message.get(field) as ReflectMessage) };
      continue;
    }
    const value = plainField(message, field);
    if (value !== undefined) out[plainName(field)] = value;
  }
  return out;
}

function plainField(message: ReflectMessage, field: DescField): unknown {
  if (field.fieldKind === "list") {
    const list = message.get(field);
    return [...list].map((item) =>
      field.listKind === "message" ? plainOf(item as ReflectMessage) : plainScalar(item),
    );
  }
  if (field.fieldKind === "map")
    return Object.fromEntries([...message.get(field)].map(([k, v]) => [k, plainScalar(v)]));
  if (!message.isSet(field) && field.presence !== FeatureSet_FieldPresence.IMPLICIT) return undefined;
  const value = message.get(field);
  if (field.fieldKind === "message") return plainOf(value as ReflectMessage);
  if (isJsonField(field)) return parseJson(value as Uint8Array);
  return plainScalar(value);
}

function plainScalar(value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new CodecError("", `${value} is beyond the safe integers`);
  return number;
}

function parseJson(bytes: Uint8Array): unknown {
  return bytes.length === 0 ? null : JSON.parse(utf8.decode.decode(bytes));
}

function fill(message: ReflectMessage, plain: Plain, path: string): void {
  const union = unionOf(message.desc);
  if (union !== undefined) {
    const field = union.fields.find((candidate) => candidate.name === plain.type);
    if (field === undefined || field.fieldKind !== "message") {
      throw new CodecError(join(path, "type"), `must be one of ${union.fields.map((f) => f.name).join(", ")}`);
    }
    message.set(field, reflect(field.message, fromPlain(field.message, plain, path), false));
    return;
  }
  for (const field of message.desc.fields) {
    const name = plainName(field);
    const value = plain[name];
    if (value !== undefined && value !== null) setField(message, field, value, join(path, name));
    else if (value === null && isJsonField(field)) setField(message, field, null, join(path, name));
  }
}

function setField(message: ReflectMessage, field: DescField, value: unknown, path: string): void {
  if (field.fieldKind === "list") {
    if (!Array.isArray(value)) throw new CodecError(path, "must be a list");
    const list = message.get(field);
    value.forEach((item, index) => {
      const at = `${path}[${index}]`;
      if (field.listKind === "message") {
        list.add(reflect(field.message, fromPlain(field.message, asPlain(item, at), at), false));
      } else list.add(item);
    });
    return;
  }
  if (field.fieldKind === "map") {
    const map = message.get(field);
    for (const [key, item] of Object.entries(asPlain(value, path))) map.set(key, item);
    return;
  }
  if (field.fieldKind === "message") {
    message.set(field, reflect(field.message, fromPlain(field.message, asPlain(value, path), path), false));
    return;
  }
  if (isJsonField(field)) {
    message.set(field, utf8.encode.encode(JSON.stringify(value)));
    return;
  }
  const error = message.set(field, scalarOf(field, value, path)) as unknown;
  if (error instanceof Error) throw new CodecError(path, error.message);
}

function scalarOf(field: DescField, value: unknown, path: string): unknown {
  const long = field.scalar === ScalarType.UINT64 || field.scalar === ScalarType.INT64;
  if (!long) return checkScalar(field, value, path);
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new CodecError(path, "must be a whole number from 0");
  }
  return BigInt(value);
}

function checkScalar(field: DescField, value: unknown, path: string): unknown {
  const expected =
    field.scalar === ScalarType.STRING ? "string" : field.scalar === ScalarType.BOOL ? "boolean" : "number";
  if (field.scalar !== ScalarType.BYTES && typeof value !== expected)
    throw new CodecError(path, `must be a ${expected}`);
  return value;
}

function asPlain(value: unknown, path: string): Plain {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new CodecError(path, "must be an object");
  return value as Plain; // a non-null, non-array object is a string-keyed record
}

function unionOf(desc: DescMessage) {
  const [only] = desc.oneofs.filter((oneof) => oneof.name === "kind");
  return only;
}

function isJsonField(field: DescField): boolean {
  return field.scalar === ScalarType.BYTES && field.name.endsWith(jsonSuffix);
}

function plainName(field: DescField): string {
  return isJsonField(field) ? field.name.slice(0, -jsonSuffix.length) : field.name;
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
