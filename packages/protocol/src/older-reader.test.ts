/**
 * A reader of the version before: descriptors with the newest types and fields taken out. Whatever it does not know it
 * must keep, so that a session that went through an older service is still whole for a newer one.
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  clone,
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  type Message,
  toBinary,
} from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, it } from "vitest";
import { decodeEvent, encodeEvent } from "./event-codec.ts";
import { type Event, EventSchema, FrameSchema } from "./gen/manyhands/events/v1/event_pb.ts";

const root = fileURLToPath(new URL("../testdata/", import.meta.url));
/** Of every folder: also events whose envelope refers to blobs. */
const golden = readdirSync(root).flatMap((folder) =>
  readdirSync(`${root}${folder}`)
    .filter((name) => name.endsWith(".bin"))
    .map((name) => {
      const type = name.slice(0, -4);
      const label = folder === "v1" ? type : `${type} (${folder})`;
      return [label, new Uint8Array(readFileSync(`${root}${folder}/${name}`))] as const;
    }),
);

/** What each message lacks in the older version, by the names of its fields. */
const unknownThen: Readonly<Record<string, readonly string[]>> = {
  Event: ["session_forked", "credential_used", "context_checkpointed", "blobs", "session_thread_id"],
  Frame: ["previous_hash"],
  AgentToolResult: ["outcome", "hand_id"],
  SessionCreated: ["budget_json", "harness_kind"],
  BrainWoken: ["instance_id"],
};

function older(file: FileDescriptorProto): FileDescriptorProto {
  const copy = clone(FileDescriptorProtoSchema, file);
  for (const message of copy.messageType) {
    const gone = unknownThen[message.name] ?? [];
    message.field = message.field.filter((field) => !gone.includes(field.name));
  }
  return copy;
}

function withImports(desc: DescMessage["file"], seen = new Map<string, FileDescriptorProto>()) {
  if (seen.has(desc.proto.name)) return seen;
  for (const one of desc.dependencies) withImports(one, seen);
  return seen.set(desc.proto.name, older(desc.proto));
}

const registry = createFileRegistry(
  create(FileDescriptorSetSchema, { file: [...withImports(EventSchema.file).values()] }),
);
const olderEvent = registry.getMessage(EventSchema.typeName) ?? expect.fail("no older Event");
const olderFrame = registry.getMessage(FrameSchema.typeName) ?? expect.fail("no older Frame");

/** The bytes after an older reader decoded and encoded them. */
const through = (desc: DescMessage, bytes: Uint8Array): Uint8Array => toBinary(desc, fromBinary(desc, bytes));
const unknownOf = (message: Message) => message.$unknown ?? [];

describe("a reader of the version before", () => {
  it("really lacks what is new", () => {
    expect(olderEvent.fields.map((field) => field.name)).not.toContain("session_forked");
    const forked = golden.find(([type]) => type === "session.forked")?.[1] ?? expect.fail("no golden event");
    expect(unknownOf(fromBinary(olderEvent, forked))).not.toEqual([]);
  });

  it.each(golden)("keeps every field of %s", (_, stored) => {
    const passed = fromBinary(EventSchema, through(olderEvent, stored));
    expect(passed).toEqual(fromBinary(EventSchema, stored));
    expect(decodeEvent(passed)).toEqual(decodeEvent(fromBinary(EventSchema, stored)));
  });

  it("keeps a frame of all of them, and the hash it carries", () => {
    const events = golden.map(([, stored]) => fromBinary(EventSchema, stored));
    const frame = create(FrameSchema, { id: "frm", previousHash: new Uint8Array(32).fill(7), events });
    const stored = toBinary(FrameSchema, frame);
    expect(fromBinary(FrameSchema, through(olderFrame, stored))).toEqual(fromBinary(FrameSchema, stored));
  });

  it("today's codec keeps what the next version adds, known type or not", () => {
    for (const [, stored] of golden) {
      const next = newer(stored);
      const wire = fromBinary(EventSchema, next);
      expect(toBinary(EventSchema, wire)).toEqual(next);
      const future: Event = { ...fromBinary(EventSchema, next), type: "future.thing", payload: { case: undefined } };
      const bytes = toBinary(EventSchema, future);
      expect(toBinary(EventSchema, encodeEvent(decodeEvent(fromBinary(EventSchema, bytes))))).toEqual(bytes);
    }
  });
});

/** The event with a field more, as a newer writer would store it. */
function newer(stored: Uint8Array): Uint8Array {
  const field = [0xc2, 0x3e, 3, 1, 2, 3]; // field 1000, three bytes
  return new Uint8Array([...stored, ...field]);
}
