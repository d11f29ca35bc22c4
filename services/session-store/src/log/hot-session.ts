/**
 * What is kept in memory of a session that is being used: its folded header, where the next frame goes, the hash the
 * next frame must carry. Never the truth: all of it is folded from frames, in order, each checked against the last.
 */
import { hash } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { foldHeader, needsBrain, needsPayload, type SessionHeader, type UnknownEvent } from "@manyhands/core";
import { decodeEvent, type Event, type Frame, FrameSchema } from "@manyhands/protocol";
import { createOlderIds, type OlderIds } from "../ids/older-ids.ts";
import type { StoredFrame } from "../store/event-store.ts";
import { logDamaged } from "./errors.ts";
import { createFrameIndex, type FrameIndex } from "./frame-index.ts";
import { createMutex, type Mutex } from "./mutex.ts";
import { createRecentIds, type RecentIds } from "./recent-ids.ts";

/** A session in memory. */
export interface HotSession {
  readonly sessionId: string;
  /** Number of its own first frame; those below are shared with the session it was forked from. */
  readonly ownFrom: number;
  header: SessionHeader | undefined;
  /** Number of the next frame. */
  nextFrame: number;
  /** SHA-256 of the last frame's stored bytes; empty before the first. */
  lastHash: Uint8Array;
  readonly recent: RecentIds;
  /** Ids older than the recent ones, as far as they were needed. */
  readonly older: OlderIds;
  readonly index: FrameIndex;
  /** One append of this process at a time: never past an unacknowledged frame. */
  readonly appends: Mutex;
}

const maxWaitingAppends = 256;

/** A session of which nothing is known yet, or whose header was folded elsewhere up to a frame. */
export function createHotSession(sessionId: string, ownFrom = 0): HotSession {
  return {
    sessionId,
    ownFrom,
    header: undefined,
    nextFrame: 0,
    lastHash: new Uint8Array(),
    recent: createRecentIds(),
    older: createOlderIds(),
    index: createFrameIndex(),
    appends: createMutex(maxWaitingAppends),
  };
}

/** Takes the ids of a frame in. Request ids of shared frames were said to the other session. */
export function noteIds(hot: HotSession, number: number, frame: Frame): void {
  hot.index.note(number, Number(frame.firstPosition));
  hot.recent.add(number, number < hot.ownFrom ? "" : frame.requestId, frame.events);
}

/** SHA-256 of stored bytes. */
export function hashOf(payload: Uint8Array): Uint8Array {
  return hash("sha256", payload, "buffer");
}

/** Decodes stored bytes; throws LOG_DAMAGED when they are no frame. */
export function decodeFrame(stored: Pick<StoredFrame, "sessionId" | "frame" | "payload">): Frame {
  try {
    return fromBinary(FrameSchema, stored.payload);
  } catch {
    throw logDamaged(stored.sessionId, stored.frame, "its bytes are no frame");
  }
}

/**
 * The header after one more frame. Events whose payload does not matter are not decoded, and of several in a row that
 * only move the head, only the last is folded: each fold copies the header.
 */
export function foldFrame(header: SessionHeader | undefined, frame: Frame): SessionHeader | undefined {
  let after = header;
  for (const [index, event] of frame.events.entries()) {
    const next = frame.events[index + 1];
    if (after !== undefined && next !== undefined && onlyMoves(event) && onlyMoves(next) && next.epoch >= event.epoch) {
      continue;
    }
    after = foldHeader(after, foldable(event));
  }
  return after;
}

function onlyMoves(event: Event): boolean {
  return !needsPayload(event.type) && !needsBrain(event.type);
}

function foldable(event: Event) {
  if (needsPayload(event.type)) return decodeEvent(event);
  const at = event.createdAt === undefined ? 0 : Number(event.createdAt.seconds) * 1000 + event.createdAt.nanos / 1e6;
  const bare: UnknownEvent = {
    id: event.id,
    type: event.type,
    position: Number(event.position),
    at,
    epoch: Number(event.epoch),
    unknown: new Uint8Array(),
  };
  return bare;
}

/**
 * Takes the next frame in. A frame already taken in is skipped, one beyond the next is left (answers false), one that
 * does not continue the log throws LOG_DAMAGED and changes nothing. `built` spares decoding and folding a frame that
 * was made here on this very head.
 */
export function absorb(
  hot: HotSession,
  stored: StoredFrame,
  built?: { readonly frame: Frame; readonly header: SessionHeader | undefined; readonly hash: Uint8Array },
): boolean {
  if (stored.frame < hot.nextFrame) return true;
  if (stored.frame > hot.nextFrame) return false;
  const frame = built?.frame ?? decodeFrame(stored);
  assertContinues(hot, stored.frame, frame);
  hot.header = built?.header ?? foldFrame(hot.header, frame);
  noteIds(hot, stored.frame, frame);
  hot.lastHash = built?.hash ?? hashOf(stored.payload);
  hot.nextFrame = stored.frame + 1;
  return true;
}

function assertContinues(hot: HotSession, number: number, frame: Frame): void {
  const head = hot.header?.head_position ?? 0;
  const damaged = (problem: string) => logDamaged(hot.sessionId, number, problem);
  if (frame.events.length === 0) throw damaged("it holds no events");
  if (Number(frame.firstPosition) !== head) throw damaged(`it begins at ${frame.firstPosition}, the head is ${head}`);
  if (Buffer.compare(frame.previousHash, hot.lastHash) !== 0)
    throw damaged("it does not carry the hash of the frame before");
  frame.events.forEach((event, offset) => {
    if (Number(event.position) !== head + offset) throw damaged(`event ${offset} has position ${event.position}`);
  });
}
