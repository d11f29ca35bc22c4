/**
 * Big texts of tool answers, kept beside the log by content hash, under their session: what is said twice in a session
 * is kept once, and all of it goes with the session, without counting references. Written before the frame that names
 * it: a crash between leaves bytes that nobody names until the session goes, never a name without bytes.
 */
import { createHash } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { AppError } from "@manyhands/kit";
import { type BlobRef, type Event, EventSchema } from "@manyhands/protocol";
import type { SideKey, SideObject, SideStore } from "../store/side-store.ts";
import { type Blob, hasBigText, restore, shorten } from "./shorten.ts";

/** Bytes of content in one stored chunk; before them stands the size of the whole, in 8 bytes. */
export const chunkBytes = 256 * 1024;
/** Largest range of one read. */
export const maxRangeBytes = 4 * 1024 * 1024;

const sizeBytes = 8;
const maxAnswerBytes = 7 * 1024 * 1024;
const chunksAtOnce = 4;

/** A range of a blob. */
export interface BlobRange {
  readonly data: Buffer;
  /** Size of the whole. */
  readonly size: number;
}

/** Big texts. */
export interface Blobs {
  /** The events as the log keeps them; what is too big for it is stored when this resolves. AppError `unavailable`. */
  keep(sessionId: string, events: readonly Event[]): Promise<readonly Event[]>;
  /** A range of a blob; undefined when the session has none of that hash. `length` 0: to the end. */
  range(sessionId: string, sha256: string, offset: number, length: number): Promise<BlobRange | undefined>;
  /** The events with whole texts, as far as one answer can hold them. Throws LOG_DAMAGED when one cannot be read. */
  restore(sessionId: string, events: readonly Event[]): Promise<Event[]>;
}

/** Blobs in a side store. */
export function createBlobs(side: SideStore): Blobs {
  const range: Blobs["range"] = async (sessionId, sha256, offset, length) => {
    const size = await sizeOf(side, sessionId, sha256);
    if (size === undefined) return undefined;
    const end = Math.min(size, offset + Math.min(length === 0 ? size : length, maxRangeBytes));
    return { data: await readRange(side, sessionId, sha256, Math.min(offset, end), end), size };
  };
  return {
    async keep(sessionId, events) {
      if (!events.some(hasBigText)) return events;
      const kept = events.map(shorten);
      for (const blob of kept.flatMap((one) => one.blobs)) await store(side, sessionId, blob);
      return kept.map((one) => one.event);
    },
    range,
    async restore(sessionId, events) {
      if (!events.some((event) => event.blobs.length > 0)) return [...events];
      let left = maxAnswerBytes - events.reduce((sum, event) => sum + toBinary(EventSchema, event).length, 0);
      const whole: Event[] = [];
      for (const event of events) {
        const texts = new Map<number, string>();
        for (const ref of event.blobs) {
          if (Number(ref.size) > left) continue;
          left -= Number(ref.size);
          texts.set(ref.block, await readText(range, sessionId, ref));
        }
        whole.push(texts.size === 0 ? event : restore(event, texts));
      }
      return whole;
    },
  };
}

const keyOf = (sha256: string, chunk: number): SideKey => ({ kind: "blob", sha256, chunk });

async function store(side: SideStore, sessionId: string, { sha256, bytes }: Blob): Promise<void> {
  const count = Math.ceil(bytes.length / chunkBytes);
  for (let first = 0; first < count; first += chunksAtOnce) {
    const chunks = Array.from({ length: Math.min(chunksAtOnce, count - first) }, (_, n) => first + n);
    await Promise.all(
      chunks.map((chunk) => {
        const part = bytes.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes);
        return side.create(sessionId, blobChunk(sha256, bytes.length, chunk, part));
      }),
    );
  }
}

/** A chunk as it is stored: the size of the whole, then its part of the content. */
export function blobChunk(sha256: string, size: number, chunk: number, part: Uint8Array): SideObject {
  const head = Buffer.alloc(sizeBytes);
  head.writeBigUInt64BE(BigInt(size));
  return { key: keyOf(sha256, chunk), bytes: Buffer.concat([head, part]) };
}

/** Size of the whole; undefined when there is no such blob. */
async function sizeOf(side: SideStore, sessionId: string, sha256: string): Promise<number | undefined> {
  const [first] = await side.read(sessionId, [keyOf(sha256, 0)]);
  if (first === undefined || first.length < sizeBytes) return undefined;
  return Number(Buffer.from(first.buffer, first.byteOffset, sizeBytes).readBigUInt64BE());
}

async function readRange(side: SideStore, sessionId: string, sha256: string, from: number, to: number) {
  if (from >= to) return Buffer.alloc(0);
  const first = Math.floor(from / chunkBytes);
  const count = Math.ceil(to / chunkBytes) - first;
  const chunks = await side.read(
    sessionId,
    Array.from({ length: count }, (_, n) => keyOf(sha256, first + n)),
  );
  const data = Buffer.concat(
    chunks.map((chunk) => {
      if (chunk === undefined) throw damaged(sha256, "a part of it is missing");
      return chunk.subarray(sizeBytes);
    }),
  );
  const start = from - first * chunkBytes;
  return data.subarray(start, start + to - from);
}

async function readText(range: Blobs["range"], sessionId: string, ref: BlobRef): Promise<string> {
  const parts: Buffer[] = [];
  for (let offset = 0; offset < Number(ref.size); offset += maxRangeBytes) {
    const part = await range(sessionId, ref.sha256, offset, maxRangeBytes);
    if (part === undefined) throw damaged(ref.sha256, "it is missing");
    parts.push(part.data);
  }
  const bytes = Buffer.concat(parts);
  if (createHash("sha256").update(bytes).digest("hex") !== ref.sha256)
    throw damaged(ref.sha256, "its bytes are others");
  return bytes.toString("utf8");
}

function damaged(sha256: string, problem: string): AppError {
  const message = `the big output ${sha256} cannot be read: ${problem}`;
  return new AppError("internal", { reason: "LOG_DAMAGED", message, details: { metadata: { sha256 } } });
}
