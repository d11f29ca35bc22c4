/**
 * Headers of all sessions, folded from the whole log by an ordered follower: history before the service is ready, then
 * live. Only for lists and as a start of folds; never asked whether something is true. Memory per session is one header
 * (agents and environments that are equal are kept once). A snapshot that spares reading the history comes later.
 */
import { isClosed, isId, type JsonObject, type SessionHeader } from "@manyhands/core";
import { type Logger, retry } from "@manyhands/kit";
import { decodeFrame, foldFrame } from "../log/hot-session.ts";
import type { FoldStart } from "../log/session-cache.ts";
import type { EventStore, LogFollower, StoredFrame } from "../store/event-store.ts";
import { sharedBelow } from "../store/shared-history.ts";
import { createIntern } from "./intern.ts";

/** One session in a list. */
export interface IndexedSession {
  readonly sessionId: string;
  readonly header: SessionHeader;
  /** Number of frames shared with the session it was forked from, or with the carrier of an imported one. */
  readonly shared: number;
}

/** The index. */
export interface SessionIndex {
  /** Sessions of a workspace, oldest first. Do not change it. */
  ofWorkspace(workspaceId: string): readonly IndexedSession[];
  /** What is folded of a session; undefined when nothing is. */
  startOf(sessionId: string): FoldStart | undefined;
  /** Running or rescheduling sessions whose log has not moved since a time. */
  stalled(beforeMs: number, limit: number): readonly IndexedSession[];
  /** Resolves when everything up to a stream sequence is in, or false after `timeoutMs`. */
  reached(sequence: number, timeoutMs: number): Promise<boolean>;
  /** True when the history is in. */
  caughtUp(): boolean;
  /** Number of sessions. */
  size(): number;
  /** Ends following. */
  stop(): Promise<void>;
}

interface Entry {
  readonly sessionId: string;
  readonly shared: number;
  header: SessionHeader;
  nextFrame: number;
}

/** Follows the store from its first frame; resolves when the history is in. `onDeleted` is told of each deletion. */
export async function createSessionIndex(
  store: EventStore,
  logger: Logger,
  onDeleted: (sessionId: string) => void = () => undefined,
): Promise<SessionIndex> {
  const entries = new Map<string, Entry>();
  const workspaces = new Map<string, Entry[]>();
  const active = new Map<string, Entry>();
  const internJson = createIntern<JsonObject>();
  const waiting = new Set<{ sequence: number; resolve: () => void }>();
  const caughtUp = Promise.withResolvers<void>();
  let isCaughtUp = false;
  let last = 0;

  const forget = (entry: Entry) => {
    entries.delete(entry.sessionId);
    active.delete(entry.sessionId);
    const list = workspaces.get(entry.header.workspace_id);
    const at = list?.indexOf(entry) ?? -1;
    if (at >= 0) list?.splice(at, 1);
  };

  const take = (stored: StoredFrame) => {
    if (!isId("session", stored.sessionId)) return; // the carrier of an imported session
    const entry = entries.get(stored.sessionId);
    const expected = entry === undefined ? 0 : entry.nextFrame - entry.shared;
    if (stored.frame < expected) return; // delivered twice after a reconnect
    if (stored.frame > expected) {
      if (entry !== undefined) forget(entry); // a hole: whoever opens the session will find and report it
      return;
    }
    const frame = decodeFrame(stored);
    const header = foldFrame(entry?.header, frame);
    if (header === undefined) return;
    if (header.deleted) {
      onDeleted(stored.sessionId);
      if (entry !== undefined) forget(entry);
      return;
    }
    const compact = { ...header, agent: internJson(header.agent), environment: internJson(header.environment) };
    const shared = entry?.shared ?? sharedBelow(frame)?.frames ?? 0;
    const next = entry ?? { sessionId: stored.sessionId, shared, header: compact, nextFrame: 0 };
    next.header = compact;
    next.nextFrame = shared + stored.frame + 1;
    if (entry === undefined) insert(workspaces, next);
    entries.set(stored.sessionId, next);
    const works = !isClosed(compact) && (compact.status === "running" || compact.status === "rescheduling");
    if (works) active.set(next.sessionId, next);
    else active.delete(next.sessionId);
  };

  const onFrame = (stored: StoredFrame) => {
    try {
      take(stored);
    } catch (error) {
      logger.error({ err: error, session_id: stored.sessionId, frame: stored.frame }, "a frame cannot be indexed");
      const entry = entries.get(stored.sessionId);
      if (entry !== undefined) forget(entry);
    }
    last = Math.max(last, stored.sequence);
    for (const waiter of waiting) if (waiter.sequence <= last) waiter.resolve();
  };

  const stopped = new AbortController();
  let follower: LogFollower | undefined;
  const follow = async (): Promise<void> => {
    follower = await store.follow({
      fromSequence: last + 1,
      onFrame,
      onCaughtUp: () => {
        isCaughtUp = true;
        caughtUp.resolve();
      },
    });
    follower.failed.catch((error: unknown) => {
      isCaughtUp = false;
      logger.warn({ err: error, sequence: last }, "the session index lost the log");
      // Until stopped, at bounded intervals: meanwhile the service is not ready, and nothing but lists depends on this.
      void retry(follow, { attempts: Number.MAX_SAFE_INTEGER, maxMs: 2000, signal: stopped.signal }).catch(
        () => undefined,
      );
    });
  };
  await follow();
  await caughtUp.promise;
  logger.info({ sessions: entries.size, sequence: last }, "the session index is caught up");

  return {
    ofWorkspace: (workspaceId) => workspaces.get(workspaceId) ?? [],
    startOf: (sessionId) => entries.get(sessionId),
    stalled(beforeMs, limit) {
      const found: IndexedSession[] = [];
      for (const entry of active.values()) {
        if (entry.header.updated_at < beforeMs) found.push(entry);
        if (found.length >= limit) break;
      }
      return found;
    },
    reached: (sequence, timeoutMs) => reached(waiting, () => last, sequence, timeoutMs),
    caughtUp: () => isCaughtUp,
    size: () => entries.size,
    async stop() {
      stopped.abort();
      await follower?.stop();
    },
  };
}

/** Keeps a workspace's list ordered by creation time and id; new ones nearly always go to the end. */
function insert(workspaces: Map<string, Entry[]>, entry: Entry): void {
  const list = workspaces.get(entry.header.workspace_id) ?? [];
  workspaces.set(entry.header.workspace_id, list);
  let at = list.length;
  while (at > 0 && compare(list[at - 1], entry) > 0) at -= 1;
  list.splice(at, 0, entry);
}

function compare(a: Entry | undefined, b: Entry): number {
  if (a === undefined) return -1;
  return a.header.created_at - b.header.created_at || (a.sessionId < b.sessionId ? -1 : 1);
}

async function reached(
  waiting: Set<{ sequence: number; resolve: () => void }>,
  last: () => number,
  sequence: number,
  timeoutMs: number,
): Promise<boolean> {
  if (last() >= sequence) return true;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const waiter = { sequence, resolve: () => resolve(true) };
  const timer = setTimeout(() => resolve(false), timeoutMs);
  waiting.add(waiter);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    waiting.delete(waiter);
  }
}
