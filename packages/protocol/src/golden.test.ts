/**
 * Encodings that were written once and stand for every log there is: `testdata/v<n>/<type>.bin` is a stored event,
 * `.json` what the core must see of it. Files are only ever added. Where a type or field is new, write a new folder:
 * `MH_WRITE_GOLDEN=v2 vitest run --project unit packages/protocol` writes the types that no folder has yet.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, it } from "vitest";
import { decodeEvent, encodeEvent, wireEventTypes } from "./event-codec.ts";
import { EventSchema } from "./gen/manyhands/events/v1/event_pb.ts";
import { toPlain } from "./plain-codec.ts";
import { sampleMessage } from "./testing/sample-message.ts";

const root = fileURLToPath(new URL("../testdata/", import.meta.url));
const folders = readdirSync(root).filter((name) => /^v\d+$/.test(name));
const filesOf = (folder: string) =>
  readdirSync(`${root}${folder}`).flatMap((name) => (name.endsWith(".bin") ? [name.slice(0, -4)] : []));

const writeTo = process.env.MH_WRITE_GOLDEN;
if (writeTo !== undefined) writeMissing(writeTo);

describe.each(folders)("golden events %s", (folder) => {
  it.each(filesOf(folder))("reads %s as it was meant", (type) => {
    const stored = readFileSync(`${root}${folder}/${type}.bin`);
    const wire = fromBinary(EventSchema, stored);
    const event = decodeEvent(wire);
    expect(event).toMatchObject(JSON.parse(readFileSync(`${root}${folder}/${type}.json`, "utf8")));
    expect(event).not.toHaveProperty("unknown");
    expect(Buffer.from(toBinary(EventSchema, wire))).toEqual(stored);
    expect(Buffer.from(toBinary(EventSchema, encodeEvent(event)))).toEqual(stored);
  });
});

it("reads the references to what an event left beside the log, which only the envelope has", () => {
  const stored = readFileSync(`${root}blobs/agent.tool_result.bin`);
  const wire = fromBinary(EventSchema, stored);
  expect(wire.blobs).toMatchObject([
    {
      block: 0,
      sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
      size: 70_000n,
      headBytes: 32_768,
      tailBytes: 32_768,
    },
  ]);
  expect(Buffer.from(toBinary(EventSchema, wire))).toEqual(stored);
  expect(decodeEvent(wire)).toEqual(
    decodeEvent(fromBinary(EventSchema, readFileSync(`${root}v1/agent.tool_result.bin`))),
  );
});

it("has a golden event for every type of the catalogue", () => {
  const written = new Set(folders.flatMap(filesOf));
  expect(wireEventTypes.filter((type) => !written.has(type))).toEqual([]);
});

it("has no payload field that the core could take for one of the envelope", () => {
  const ofEnvelope = new Set(["id", "type", "position", "at", "created_at", "unknown"]);
  const payloads = EventSchema.fields.flatMap((field) =>
    field.fieldKind === "message" && field.oneof ? [field.message] : [],
  );
  const clashes = payloads.flatMap((message) => message.fields.filter((field) => ofEnvelope.has(field.name)));
  expect(clashes.map(String)).toEqual([]);
});

function writeMissing(folder: string): void {
  mkdirSync(`${root}${folder}`, { recursive: true });
  const isWritten = (type: string) => readdirSync(root).some((name) => existsSync(`${root}${name}/${type}.bin`));
  for (const type of wireEventTypes.filter((name) => !isWritten(name))) {
    const field = EventSchema.fields.find((one) => one.name === type.replace(".", "_"));
    if (field?.fieldKind !== "message") throw new Error(`no payload field for ${type}`);
    const body = sampleMessage(field.message);
    const plain = toPlain(field.message, body);
    const wire = create(EventSchema, {
      id: "sevt_golden",
      type,
      position: 7n,
      createdAt: timestampFromMs(1_700_000_000_123),
      // Where the payload names epoch or thread too, it says the same as the envelope.
      epoch: typeof plain.epoch === "number" ? BigInt(plain.epoch) : 2n,
      sessionThreadId: typeof plain.session_thread_id === "string" ? plain.session_thread_id : "",
    });
    reflect(EventSchema, wire, false).set(field, reflect(field.message, body, false));
    writeFileSync(`${root}${folder}/${type}.bin`, toBinary(EventSchema, wire));
    writeFileSync(`${root}${folder}/${type}.json`, `${JSON.stringify(decodeEvent(wire), null, 2)}\n`);
  }
}
