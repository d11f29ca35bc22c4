/**
 * The ids of a run of 128 frames, packed: what recognises a repeat that is older than the window of recent ids. Only
 * what no brain wrote is in it: a brain names the position it expects, so that it can store nothing twice. Each id is
 * seven bytes: 48 bits of its SHA-256 and the frame within the run. A hash may lie, so every hit is checked in its frame.
 */
import { hash } from "node:crypto";
import type { Event } from "@manyhands/protocol";

/** Frames in a segment. */
export const framesPerSegment = 128;

const version = 1;
const keyBytes = 6;
const entryBytes = keyBytes + 1;

/** 48 bits of an id's hash. */
export type IdKey = number;

/** What a segment needs to know of a frame. */
export interface FrameIds {
  readonly requestId: string;
  /** Those of its events that no brain wrote. */
  readonly eventIds: readonly string[];
}

/** What a segment needs to know of this frame. */
export function idsOfFrame(requestId: string, events: readonly Pick<Event, "id" | "epoch">[]): FrameIds {
  return { requestId, eventIds: events.filter((event) => event.epoch === 0n).map((event) => event.id) };
}

/** Key of a request id. */
export const requestKey = (id: string): IdKey => keyOf(`request\n${id}`);

/** Key of an event id. */
export const eventKey = (id: string): IdKey => keyOf(`event\n${id}`);

function keyOf(text: string): IdKey {
  return hash("sha256", text, "buffer").readUIntBE(0, keyBytes);
}

/** The segment of 128 frames in order. */
export function encodeSegment(frames: readonly FrameIds[]): Uint8Array {
  const entries = frames.flatMap((frame, offset) => keysOf(frame).map((key) => ({ key, offset })));
  const bytes = Buffer.alloc(1 + entries.length * entryBytes);
  bytes.writeUInt8(version, 0);
  entries.forEach(({ key, offset }, index) => {
    bytes.writeUIntBE(key, 1 + index * entryBytes, keyBytes);
    bytes.writeUInt8(offset, 1 + index * entryBytes + keyBytes);
  });
  return bytes;
}

function keysOf({ requestId, eventIds }: FrameIds): IdKey[] {
  if (eventIds.length === 0) return [];
  return [...(requestId === "" ? [] : [requestKey(requestId)]), ...eventIds.map(eventKey)];
}

/** Key and frame offset of every id; undefined when the bytes are of no known version or cut. */
export function decodeSegment(stored: Uint8Array): { readonly key: IdKey; readonly offset: number }[] | undefined {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  if (bytes.length === 0 || bytes[0] !== version || (bytes.length - 1) % entryBytes !== 0) return undefined;
  return Array.from({ length: (bytes.length - 1) / entryBytes }, (_, index) => ({
    key: bytes.readUIntBE(1 + index * entryBytes, keyBytes),
    offset: bytes.readUInt8(1 + index * entryBytes + keyBytes),
  }));
}
