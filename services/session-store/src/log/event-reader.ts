/**
 * Reads stored events by position, either way, in bounded chunks of explicit frames. What is below the known head must
 * be there: a hole is the session's deletion or damage, never skipped.
 */
import { AppError } from "@manyhands/kit";
import type { Event, Frame } from "@manyhands/protocol";
import type { EventStore, StoredFrame } from "../store/event-store.ts";
import { logDamaged } from "./errors.ts";
import { decodeFrame, type HotSession } from "./hot-session.ts";
import { range } from "./session-cache.ts";

const maxChunkFrames = 256;
const probeSpan = 64;
const probes = 8;
const leaderTimeoutMs = 2000;

/** Which events to read. */
export interface ReadQuery {
  /** Positions `[from, to)`; `to` is at most the head known when reading begins. */
  readonly from: number;
  readonly to: number;
  readonly descending: boolean;
  /** About how many events the caller wants: sizes the first chunk. */
  readonly hint: number;
}

/** Chunks of events in the order asked for. */
export async function* readEvents(store: EventStore, hot: HotSession, query: ReadQuery): AsyncGenerator<Event[]> {
  if (query.to <= query.from) return;
  const perFrame = Math.max(1, (hot.header?.head_position ?? 1) / Math.max(1, hot.nextFrame));
  let size = Math.min(maxChunkFrames, Math.ceil(query.hint / perFrame) + 16);
  let next = await locate(store, hot, query.descending ? query.to - 1 : query.from);
  if (!query.descending) {
    while (next < hot.nextFrame) {
      const end = Math.min(hot.nextFrame, next + size);
      const frames = await readWhole(store, hot, next, end);
      const events = eventsWithin(frames, query);
      if (events.length > 0) yield events;
      if (lastPosition(frames) >= query.to - 1) return;
      next = end;
      size = maxChunkFrames;
    }
    return;
  }
  let end = hot.index.around(query.to - 1).behind?.frame ?? hot.nextFrame;
  while (end > 0) {
    const begin = Math.max(0, end - size);
    const frames = await readWhole(store, hot, begin, end);
    const events = eventsWithin(frames, query).reverse();
    if (events.length > 0) yield events;
    if (Number(frames[0]?.firstPosition ?? 0n) <= query.from) return;
    end = begin;
    size = maxChunkFrames;
  }
}

/** The frames `[from, to)`, decoded, all of them. */
export async function readWhole(store: EventStore, hot: HotSession, from: number, to: number): Promise<Frame[]> {
  const stored = await store.read(hot.sessionId, range(from, to));
  const frames = stored.map((one) => ({ number: one.frame, frame: decodeFrame(one) }));
  for (const one of frames) {
    hot.index.note(one.number, Number(one.frame.firstPosition));
    if (one.number < hot.ownFrom) one.frame.requestId = ""; // was said to the session this one was forked from
  }
  if (frames.length === to - from) return contiguous(hot.sessionId, frames);
  const have = new Set(frames.map((one) => one.number));
  const missing = range(from, to).find((number) => !have.has(number)) ?? from;
  throw await explainHole(store, hot, missing);
}

/** The frames, each beginning where the one before ends; else damage. */
function contiguous(sessionId: string, frames: readonly { readonly number: number; readonly frame: Frame }[]): Frame[] {
  return frames.map(({ number, frame }, at) => {
    const before = frames[at - 1]?.frame;
    const expected = before === undefined ? frame.firstPosition : before.firstPosition + BigInt(before.events.length);
    if (frame.firstPosition === expected) return frame;
    throw logDamaged(sessionId, number, `it begins at ${frame.firstPosition}, the one before ends at ${expected}`);
  });
}

/** A replica may lag, a session may be deleted under the reader; anything else is damage. */
async function explainHole(store: EventStore, hot: HotSession, frame: number): Promise<AppError> {
  const { sessionId, ownFrom } = hot;
  if ((await store.readFromLeader(sessionId, frame, leaderTimeoutMs)) !== undefined) {
    return AppError.unavailable("UNAVAILABLE", "a replica of the log lags behind");
  }
  if ((await store.readFromLeader(sessionId, ownFrom, leaderTimeoutMs)) === undefined) {
    return AppError.notFound("session", sessionId);
  }
  return logDamaged(sessionId, frame, "it is missing");
}

function eventsWithin(frames: readonly Frame[], query: ReadQuery): Event[] {
  return frames.flatMap((frame) =>
    frame.events.filter((event) => Number(event.position) >= query.from && Number(event.position) < query.to),
  );
}

function lastPosition(frames: readonly Frame[]): number {
  const frame = frames.at(-1);
  return frame === undefined ? -1 : Number(frame.firstPosition) + frame.events.length - 1;
}

/** A frame at or a little before the one that holds the position: anchors first, then a few probes at a time. */
export async function locate(store: EventStore, hot: HotSession, position: number): Promise<number> {
  for (let round = 0; round < 40; round += 1) {
    const { from, behind } = hot.index.around(position);
    const end = behind?.frame ?? hot.nextFrame;
    if (end - from.frame <= probeSpan || position < from.position + 1) return from.frame;
    const anchors = hot.index.size();
    const step = Math.max(1, Math.floor((end - from.frame) / (probes + 1)));
    const numbers = range(1, probes + 1).map((n) => from.frame + n * step);
    const stored: StoredFrame[] = await store.read(hot.sessionId, numbers);
    for (const one of stored) hot.index.note(one.frame, one.position);
    if (hot.index.size() <= anchors) return from.frame; // the index is full: read on from the nearest anchor
  }
  return hot.index.around(position).from.frame;
}
