/** Fills every field of a message with values that only depend on its descriptor. */
import { create, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";

const maxDepth = 4;
const utf8 = new TextEncoder();

/** A message with every field set; of each oneof, the member of that number (from 0, the last one where there are fewer). */
export function sampleMessage(desc: DescMessage, depth = 0, member = 0): Message {
  const message = create(desc);
  const filled = reflect(desc, message, false);
  for (const field of desc.fields) if (isWanted(field, member)) fill(filled, field, depth);
  return message;
}

/** Proto3's optional fields stand in a oneof of their own, which descriptors here leave out. */
function isWanted(field: DescField, member: number): boolean {
  const members = field.oneof?.fields;
  return members === undefined || members.indexOf(field) === Math.min(member, members.length - 1);
}

function fill(message: ReflectMessage, field: DescField, depth: number): void {
  const { fieldKind } = field;
  if (fieldKind === "list") {
    if (field.listKind === "message") {
      const variants = Math.max(1, ...field.message.oneofs.map((oneof) => oneof.fields.length));
      for (let member = 0; member < variants && depth < maxDepth; member += 1) {
        message.get(field).add(nested(field.message, depth, member));
      }
    } else message.get(field).add(field.listKind === "enum" ? 1 : scalar(field.scalar, field));
  } else if (fieldKind === "map") {
    if (field.mapKind === "scalar") message.get(field).set(scalar(field.mapKey, field), scalar(field.scalar, field));
  } else if (fieldKind === "message") {
    if (depth < maxDepth) message.set(field, nested(field.message, depth));
  } else message.set(field, fieldKind === "enum" ? 1 : scalar(field.scalar, field));
}

function nested(desc: DescMessage, depth: number, member = 0): ReflectMessage {
  return reflect(desc, sampleMessage(desc, depth + 1, member), false);
}

function scalar(type: ScalarType, field: DescField) {
  switch (type) {
    case ScalarType.STRING:
      return `${field.name} é`;
    case ScalarType.BYTES:
      return field.name.endsWith("_json")
        ? utf8.encode(`{"${field.name}":[${field.number},null]}`)
        : utf8.encode("bytes");
    case ScalarType.BOOL:
      return true;
    case ScalarType.UINT64:
    case ScalarType.INT64:
      return BigInt(field.number) + 1_000n;
    default:
      return field.number + 10;
  }
}
