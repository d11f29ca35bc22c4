/**
 * Hot sessions, least recently used out. Bounded by number of sessions and by the ids their windows hold. Opening a
 * session folds it once, however many callers ask; catching up reads on from the known head.
 */

import type { SessionHeader } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import type { EventStore, StoredFrame } from "../store/event-store.ts";
import { logDamaged } from "./errors.ts";
import { absorb, createHotSession, decodeFrame, foldFrame, type HotSession, hashOf, noteIds } from "./hot-session.ts";
import { recentFrames } from "./recent-ids.ts";

/** Where a fold may start instead of at frame 0: what the index of sessions has folded already. */
export interface FoldStart {
  readonly header: SessionHeader;
  readonly nextFrame: number;
}

/** How the cache is bounded. */
export interface SessionCacheOptions {
  readonly store: EventStore;
  /** What is known of a session already; undefined when nothing is. */
  startOf(sessionId: string): FoldStart | undefined;
  /** Number of the session's own first frame; without this, no session shares history. */
  ownFrom?(sessionId: string): Promise<number>;
  readonly maxSessions: number;
  /** Event and request ids held over all sessions. */
  readonly maxIds: number;
}

/** Sessions by id. */
export interface SessionCache {
  /** The session as far as this process knows it, folded when it is not in memory. NOT_FOUND. */
  open(sessionId: string): Promise<HotSession>;
  /** Like `open`, and reads on to the head: what others appended before the call is in. NOT_FOUND. */
  current(sessionId: string): Promise<HotSession>;
  /** True when the session is in memory, or on its way into it. */
  knows(sessionId: string): boolean;
  /** Reads on to the head. */
  catchUp(hot: HotSession): Promise<void>;
  /** Forgets a session. */
  drop(sessionId: string): void;
  /** Takes a session in that was just created. */
  put(hot: HotSession): void;
  /** Number of sessions in memory. */
  readonly size: () => number;
}

const firstProbe = 4;
const maxProbe = 256;
const evictEvery = 64;

/** An empty cache over a store. */
export function createSessionCache(options: SessionCacheOptions): SessionCache {
  const sessions = new Map<string, Promise<HotSession>>();
  let opened = 0;

  const touch = (sessionId: string, entry: Promise<HotSession>) => {
    sessions.delete(sessionId);
    sessions.set(sessionId, entry);
    opened += 1;
    while (sessions.size > options.maxSessions) dropOldest(sessions);
    if (opened % evictEvery === 0) void shrink(sessions, options.maxIds);
  };

  const open = (sessionId: string): Promise<HotSession> => {
    const known = sessions.get(sessionId);
    const entry = known ?? load(options, sessionId);
    touch(sessionId, entry);
    if (known === undefined) {
      entry.catch(() => {
        if (sessions.get(sessionId) === entry) sessions.delete(sessionId);
      });
    }
    return entry;
  };

  return {
    open,
    async current(sessionId) {
      const fresh = !sessions.has(sessionId);
      const hot = await open(sessionId);
      if (!fresh) await catchUp(options.store, hot);
      if (hot.header?.deleted) throw AppError.notFound("session", sessionId);
      return hot;
    },
    knows: (sessionId) => sessions.has(sessionId),
    catchUp: (hot) => catchUp(options.store, hot),
    drop: (sessionId) => void sessions.delete(sessionId),
    put: (hot) => touch(hot.sessionId, Promise.resolve(hot)),
    size: () => sessions.size,
  };
}

function dropOldest(sessions: Map<string, unknown>): void {
  const [oldest] = sessions.keys();
  if (oldest !== undefined) sessions.delete(oldest);
}

/** Drops the least recently used until the ids fit. */
async function shrink(sessions: Map<string, Promise<HotSession>>, maxIds: number): Promise<void> {
  const hot = await Promise.allSettled(sessions.values());
  let ids = hot.reduce((sum, one) => sum + (one.status === "fulfilled" ? idsOf(one.value) : 0), 0);
  for (const one of hot) {
    if (ids <= maxIds) return;
    if (one.status !== "fulfilled") continue;
    ids -= idsOf(one.value);
    sessions.delete(one.value.sessionId);
  }
}

function idsOf(hot: HotSession): number {
  return hot.recent.size() + hot.older.size();
}

async function load(options: SessionCacheOptions, sessionId: string): Promise<HotSession> {
  const ownFrom = (await options.ownFrom?.(sessionId)) ?? 0;
  const hot =
    (await resume(options, sessionId, ownFrom)) ??
    (ownFrom === 0 ? createHotSession(sessionId) : await beginFork(options.store, sessionId, ownFrom));
  await catchUp(options.store, hot);
  if (hot.header === undefined || hot.header.deleted) throw AppError.notFound("session", sessionId);
  return hot;
}

/** Continues a header that was folded elsewhere: reads back only the window in which repeats are recognised. */
async function resume(
  options: SessionCacheOptions,
  sessionId: string,
  ownFrom: number,
): Promise<HotSession | undefined> {
  const start = options.startOf(sessionId);
  if (start === undefined || start.nextFrame === 0) return undefined;
  const first = Math.max(0, start.nextFrame - recentFrames);
  const frames = await options.store.read(sessionId, range(first, start.nextFrame));
  const last = frames.at(-1);
  if (frames.length !== start.nextFrame - first || last === undefined) return undefined; // purged, or a lagging replica
  const hot = createHotSession(sessionId, ownFrom);
  for (const stored of frames) noteIds(hot, stored.frame, decodeFrame(stored));
  const newest = decodeFrame(last);
  const end = Number(newest.firstPosition) + newest.events.length;
  if (end !== start.header.head_position) return undefined; // the start is of another log: fold from the beginning
  hot.header = start.header;
  hot.nextFrame = start.nextFrame;
  hot.lastHash = hashOf(last.payload);
  return hot;
}

/** Begins at a fork's own first frame, which says all that a header needs; reads back only the window of ids. */
async function beginFork(store: EventStore, sessionId: string, ownFrom: number): Promise<HotSession> {
  const hot = createHotSession(sessionId, ownFrom);
  const numbers = range(Math.max(0, ownFrom - recentFrames), ownFrom + 1);
  const frames = await store.read(sessionId, numbers);
  const last = frames.at(-1);
  const before = frames.at(-2);
  if (last?.frame !== ownFrom) return hot; // deleted: catching up finds the tombstone or nothing
  if (frames.length !== numbers.length || before === undefined) {
    const have = new Set(frames.map((one) => one.frame));
    throw logDamaged(sessionId, numbers.find((number) => !have.has(number)) ?? 0, "it is missing");
  }
  const first = decodeFrame(last);
  if (Buffer.compare(first.previousHash, hashOf(before.payload)) !== 0) {
    throw logDamaged(sessionId, ownFrom, "it does not carry the hash of the frame before");
  }
  for (const stored of frames) noteIds(hot, stored.frame, decodeFrame(stored));
  hot.header = foldFrame(undefined, first);
  hot.nextFrame = ownFrom + 1;
  hot.lastHash = hashOf(last.payload);
  return hot;
}

/** Reads on from the known head in growing steps until a frame is missing. */
async function catchUp(store: EventStore, hot: HotSession): Promise<void> {
  for (let step = firstProbe; ; step = Math.min(step * 4, maxProbe)) {
    const from = hot.nextFrame;
    const frames = await store.read(hot.sessionId, range(from, from + step));
    takeIn(hot, frames);
    if (hot.nextFrame < from + step) return;
  }
}

/** Absorbs in order; a hole with frames behind it is damage unless a lagging replica explains it. */
function takeIn(hot: HotSession, frames: readonly StoredFrame[]): void {
  for (const stored of frames) {
    if (absorb(hot, stored)) continue;
    if (hot.nextFrame === 0) return; // only a tombstone is left: the session was deleted
    if (decodeFrame(stored).events.some((event) => event.type === "session.deleted")) {
      throw AppError.notFound("session", hot.sessionId); // its frames are gone, this is its tombstone
    }
    throw logDamaged(hot.sessionId, hot.nextFrame, `it is missing, frame ${stored.frame} is there`);
  }
}

/** Whole numbers `[from, to)`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, offset) => from + offset);
}
