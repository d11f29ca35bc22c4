/**
 * Reads stored events by position, either way, in bounded chunks of explicit frames. What is below the known head must
 * be there: a hole is the session's deletion or damage, never skipped.
 */
import { AppError } from "@manyhands/kit";
import type { Frame } from "@manyhands/protocol";
import type { EventStore, StoredFrame } from "../store/event-store.ts";
import { logDamaged } from "./errors.ts";
import { decodeFrame, type HotSession } from "./hot-session.ts";
import { range } from "./session-cache.ts";
import { type PlacedFrame, placeFrame, type StoredEvent } from "./stored-event.ts";

const maxChunkFrames = 4096;
const maxChunkBytes = 4 * 1024 * 1024;
const maxFirstFrames = 256;
const chunkGrowth = 4;
/** Frames read beyond what a slice should take: as far as anchors lie apart. */
const spareFrames = 10;
const probeSpan = 64;
const probes = 8;
const maxRounds = 40;
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

/** Chunks of events in the order asked for. While one is decoded and taken, the next is already on its way. */
export async function* readEvents(store: EventStore, hot: HotSession, query: ReadQuery): AsyncGenerator<StoredEvent[]> {
  if (query.to <= query.from) return;
  const perFrame = Math.max(1, (hot.header?.head_position ?? 1) / Math.max(1, hot.nextFrame));
  const start = await locate(store, hot, query.descending ? query.to - 1 : query.from);
  const size = Math.min(maxFirstFrames, firstSize(hot, query, start, perFrame));
  yield* query.descending ? readDown(store, hot, query, size) : readUp(store, hot, query, start, size);
}

/** How many frames hold what the caller wants: as anchors say, where they are close; else as many as usual, and spare ones. */
function firstSize(
  hot: HotSession,
  { from, to, descending, hint }: ReadQuery,
  start: number,
  perFrame: number,
): number {
  if (descending) return Math.ceil(hint / perFrame) + spareFrames;
  const wanted = Math.min(to, from + hint);
  const before = Math.max(0, from - hot.index.around(from).from.position);
  const usual = Math.ceil((before + hint) / perFrame) + spareFrames;
  const end = hot.index.around(wanted - 1).behind?.frame ?? Number.POSITIVE_INFINITY;
  return end - start <= usual + spareFrames ? end - start : usual;
}

async function* readUp(
  store: EventStore,
  hot: HotSession,
  query: ReadQuery,
  start: number,
  firstSize: number,
): AsyncGenerator<StoredEvent[]> {
  let [next, size] = [start, firstSize];
  let expected: number | undefined;
  let ahead: Promise<PlacedFrame[]> | undefined;
  while (next < hot.nextFrame) {
    const frames: PlacedFrame[] = await (ahead ?? readPlaced(store, hot, next, Math.min(hot.nextFrame, next + size)));
    const last = frames.at(-1);
    const first = frames[0];
    if (last === undefined || first === undefined) return;
    if (expected !== undefined && first.first !== expected) throw misplaced(hot.sessionId, first, expected);
    next = last.stored.frame + 1;
    expected = last.end;
    const more = last.end < query.to && next < hot.nextFrame;
    size = nextSize(size, frames);
    ahead = more ? readPlaced(store, hot, next, Math.min(hot.nextFrame, next + size)) : undefined;
    ahead?.catch(() => undefined); // who stops reading early never hears of it
    const events = eventsWithin(frames, query);
    if (events.length > 0) yield events;
    if (!more) return;
  }
}

async function* readDown(
  store: EventStore,
  hot: HotSession,
  query: ReadQuery,
  firstSize: number,
): AsyncGenerator<StoredEvent[]> {
  let end = hot.index.around(query.to - 1).behind?.frame ?? hot.nextFrame;
  let size = firstSize;
  while (end > 0) {
    const begin = Math.max(0, end - size);
    const frames = await readPlaced(store, hot, begin, end);
    const events = eventsWithin(frames, query).reverse();
    if (events.length > 0) yield events;
    if ((frames[0]?.first ?? 0) <= query.from) return;
    end = begin;
    size = nextSize(size, frames);
  }
}

/** Larger chunks cost less per frame, until frames like the last ones would be too many bytes at once. */
function nextSize(size: number, frames: readonly PlacedFrame[]): number {
  const bytes = frames.reduce((sum, { stored }) => sum + stored.payload.length, 0);
  const fitting = Math.max(1, Math.floor((maxChunkBytes * frames.length) / Math.max(1, bytes)));
  return Math.min(maxChunkFrames, fitting, size * chunkGrowth);
}

/** The frames `[from, to)`, all of them, each beginning where the one before ends; not decoded. */
async function readPlaced(store: EventStore, hot: HotSession, from: number, to: number): Promise<PlacedFrame[]> {
  const stored = await store.read(hot.sessionId, range(from, to));
  const frames = stored.map(placeFrame);
  let before: PlacedFrame | undefined;
  for (const one of frames) {
    hot.index.note(one.stored.frame, one.first);
    const follows = before !== undefined && before.stored.frame + 1 === one.stored.frame;
    if (follows && before?.end !== one.first) throw misplaced(hot.sessionId, one, before?.end ?? 0);
    before = one;
  }
  if (frames.length === to - from) return frames;
  const have = new Set(frames.map((one) => one.stored.frame));
  throw await explainHole(store, hot, range(from, to).find((number) => !have.has(number)) ?? from);
}

function misplaced(sessionId: string, { stored, first }: PlacedFrame, expected: number): AppError {
  return logDamaged(sessionId, stored.frame, `it begins at ${first}, the one before ends at ${expected}`);
}

/** The frames `[from, to)`, decoded, all of them. */
export async function readWhole(store: EventStore, hot: HotSession, from: number, to: number): Promise<Frame[]> {
  const frames = await readPlaced(store, hot, from, to);
  return frames.map(({ stored }) => {
    const frame = decodeFrame(stored);
    if (stored.frame < hot.ownFrom) frame.requestId = ""; // was said to the session this one was forked from
    return frame;
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

/** The events of the slice. */
function eventsWithin(frames: readonly PlacedFrame[], { from, to }: ReadQuery): StoredEvent[] {
  return frames.flatMap(({ events, first, end }) => {
    if (end <= from || first >= to) return [];
    if (first >= from && end <= to) return events;
    return events.slice(Math.max(0, from - first), Math.max(0, to - first));
  });
}

/**
 * A frame at or a little before the one that holds the position. Between two anchors that are far apart, probes are set
 * densely around where the position would be if all frames were alike, thinly further away: one round nearly always
 * closes in on it.
 */
export async function locate(store: EventStore, hot: HotSession, position: number): Promise<number> {
  for (let round = 0; round < maxRounds; round += 1) {
    const { from, behind } = hot.index.around(position);
    const end = behind ?? { frame: hot.nextFrame, position: hot.header?.head_position ?? position + 1 };
    if (end.frame - from.frame <= probeSpan || position < from.position + 1) return from.frame;
    const anchors = hot.index.size();
    const numbers = round === 0 ? around(from, end, position) : evenly(from.frame, end.frame);
    const stored: StoredFrame[] = await store.read(hot.sessionId, numbers);
    for (const one of stored) hot.index.note(one.frame, placeFrame(one).first);
    if (hot.index.size() <= anchors) return from.frame; // the index is full: read on from the nearest anchor
  }
  return hot.index.around(position).from.frame;
}

interface Place {
  readonly frame: number;
  readonly position: number;
}

function around(from: Place, end: Place, position: number): number[] {
  const share = (position - from.position) / Math.max(1, end.position - from.position);
  const guess = Math.round(from.frame + share * (end.frame - from.frame));
  const distances = [8, 40, 200, 1000, 5000];
  const numbers = [...distances.map((far) => guess - far).reverse(), ...distances.map((far) => guess + far)];
  return numbers.filter((number) => number > from.frame && number < end.frame);
}

function evenly(from: number, end: number): number[] {
  const step = Math.max(1, Math.floor((end - from) / (probes + 1)));
  return range(1, probes + 1).map((n) => from + n * step);
}
