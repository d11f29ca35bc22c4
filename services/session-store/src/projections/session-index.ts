/**
 * Headers of all sessions, folded from the log: from a snapshot on, or from the first frame, up to the end before the
 * service is ready, then read on from time to time and before every list. Only for lists and as a start of folds; never
 * asked whether something is true. Memory per session is one header (agents and environments that are equal are kept
 * once).
 */
import { isClosed, isId, type JsonObject, type SessionHeader } from "@manyhands/core";
import type { Logger } from "@manyhands/kit";
import { foldFrame } from "../log/hot-session.ts";
import type { FoldStart } from "../log/session-cache.ts";
import { skimFrame } from "../log/skim-frame.ts";
import type { EventStore, StoredFrame } from "../store/event-store.ts";
import { sharedBelow } from "../store/shared-history.ts";
import type { IndexEntry } from "./index-snapshot.ts";
import { createIntern } from "./intern.ts";
import { createOpenCarriers } from "./open-carriers.ts";
import { insertSession, type ListedSession, removeSession } from "./session-list.ts";

/** One session in a list. */
export interface IndexedSession extends ListedSession {
  /** Number of frames shared with the session it was forked from, or with the carrier of an imported one. */
  readonly shared: number;
}

/** A frame that this process stored. */
export interface StoredHere {
  readonly sessionId: string;
  /** Its number, which counts shared frames too. */
  readonly frame: number;
  /** Of a session's own first frame: how many frames below it are shared. */
  readonly shared?: number;
  /** Header after it. */
  readonly header: SessionHeader;
  /** Its stream sequence, when it is known. */
  readonly sequence?: number;
}

/** The index. */
export interface SessionIndex {
  /** Sessions of a workspace, oldest first. Do not change it. */
  ofWorkspace(workspaceId: string): readonly IndexedSession[];
  /** What is folded of a session; undefined when nothing is. */
  startOf(sessionId: string): FoldStart | undefined;
  /** Takes in what this process just stored right behind what is known, so that it need not be read and folded again. */
  noteStored(stored: StoredHere): void;
  /** Running or rescheduling sessions whose log has not moved since a time. */
  stalled(beforeMs: number, limit: number): readonly IndexedSession[];
  /**
   * Takes in at once what anybody stored before the call. True when everything up to a stream sequence is in too, false
   * after `timeoutMs`.
   */
  readOn(sequence: number, timeoutMs: number): Promise<boolean>;
  /** True when the history is in. */
  caughtUp(): boolean;
  /** Everything it knows, for a snapshot: may change while it is walked through. */
  entries(): Iterable<IndexEntry>;
  /** Sequence up to which the log is in. */
  sequence(): number;
  /** Sequence that it began after: 0 when it folded the whole log. */
  readonly begunAt: number;
  /** Number of sessions. */
  size(): number;
  /** Carriers that no session has been seen to share. */
  openCarriers(): readonly string[];
  /** The carrier was removed. */
  forgetCarrier(carrierId: string): void;
  /** Ends following. */
  stop(): Promise<void>;
}

interface Entry {
  readonly sessionId: string;
  readonly shared: number;
  header: SessionHeader;
  nextFrame: number;
}

/** Where the index begins instead of at the first frame. */
export interface IndexStart {
  /** Frames up to here are in the entries. */
  readonly sequence: number;
  readonly entries: readonly IndexEntry[];
}

/** Follows the store; resolves when the history is in. `onDeleted` is told of each deletion. */
export async function createSessionIndex(
  store: EventStore,
  logger: Logger,
  onDeleted: (sessionId: string) => void = () => undefined,
  start: IndexStart = { sequence: 0, entries: [] },
): Promise<SessionIndex> {
  const entries = new Map<string, Entry>();
  const workspaces = new Map<string, Entry[]>();
  const active = new Map<string, Entry>();
  const carriers = createOpenCarriers();
  const internJson = createIntern<JsonObject>();
  const caughtUp = Promise.withResolvers<void>();
  let isCaughtUp = false;

  const forget = (entry: Entry) => {
    entries.delete(entry.sessionId);
    active.delete(entry.sessionId);
    removeSession(workspaces.get(entry.header.workspace_id) ?? [], entry);
  };

  const compacted = (header: SessionHeader): SessionHeader => ({
    ...header,
    agent: internJson(header.agent),
    environment: internJson(header.environment),
  });

  const take = (stored: StoredFrame) => {
    if (!isId("session", stored.sessionId)) return carriers.seen(stored.sessionId);
    const entry = entries.get(stored.sessionId);
    const expected = entry === undefined ? 0 : entry.nextFrame - entry.shared;
    if (stored.frame < expected) return; // noted when it was stored
    if (stored.frame > expected) {
      if (entry !== undefined) forget(entry); // a hole: whoever opens the session will find and report it
      return;
    }
    const frame = skimFrame(stored);
    const header = foldFrame(entry?.header, frame);
    if (header === undefined) return;
    if (header.deleted) {
      onDeleted(stored.sessionId);
      if (entry !== undefined) forget(entry);
      return;
    }
    const compact = compacted(header);
    const shared = entry?.shared ?? sharedBelow(frame)?.frames ?? 0;
    const next = entry ?? { sessionId: stored.sessionId, shared, header: compact, nextFrame: 0 };
    next.header = compact;
    next.nextFrame = shared + stored.frame + 1;
    if (entry === undefined) enter(next);
    else noteWork(next);
  };

  const noteWork = (entry: Entry) => {
    const { status } = entry.header;
    const works = !isClosed(entry.header) && (status === "running" || status === "rescheduling");
    if (works) active.set(entry.sessionId, entry);
    else active.delete(entry.sessionId);
  };

  const enter = (entry: Entry) => {
    const { workspace_id: workspaceId } = entry.header;
    const list = workspaces.get(workspaceId) ?? [];
    workspaces.set(workspaceId, list);
    insertSession(list, entry);
    entries.set(entry.sessionId, entry);
    carriers.begun(entry.header);
    noteWork(entry);
  };

  for (const { header, ...entry } of start.entries) {
    if (isId("session", entry.sessionId)) enter({ ...entry, header: compacted(header) });
    else carriers.seen(entry.sessionId);
  }

  const onFrame = (stored: StoredFrame) => {
    try {
      take(stored);
    } catch (error) {
      logger.error({ err: error, session_id: stored.sessionId, frame: stored.frame }, "a frame cannot be indexed");
      const entry = entries.get(stored.sessionId);
      if (entry !== undefined) forget(entry);
    }
  };

  const follower = await store.follow({
    fromSequence: start.sequence + 1,
    onFrame,
    onCaughtUp: () => {
      isCaughtUp = true;
      caughtUp.resolve();
    },
  });
  await caughtUp.promise;
  const sequence = follower.sequence();
  logger.info({ sessions: entries.size, from: start.sequence, sequence }, "the session index is caught up");

  return {
    ofWorkspace: (workspaceId) => workspaces.get(workspaceId) ?? [],
    startOf: (sessionId) => entries.get(sessionId),
    noteStored({ sessionId, frame, shared, header, sequence: at }) {
      const entry = entries.get(sessionId);
      if (at === undefined || at <= follower.sequence() || header.deleted) return; // told by the log, or will be
      if (entry === undefined && shared !== undefined) {
        enter({ sessionId, shared, header: compacted(header), nextFrame: frame + 1 });
      } else if (entry?.nextFrame === frame) {
        entry.header = compacted(header);
        entry.nextFrame = frame + 1;
        noteWork(entry);
      } else return;
      follower.skip(at);
    },
    stalled(beforeMs, limit) {
      const found: IndexedSession[] = [];
      for (const entry of active.values()) {
        if (entry.header.updated_at < beforeMs) found.push(entry);
        if (found.length >= limit) break;
      }
      return found;
    },
    readOn: (upTo, timeoutMs) => follower.readOn(upTo, timeoutMs),
    caughtUp: () => isCaughtUp,
    *entries() {
      yield* entries.values();
      yield* carriers.entries();
    },
    openCarriers: () => carriers.list(),
    forgetCarrier: (carrierId) => carriers.forget(carrierId),
    sequence: () => follower.sequence(),
    begunAt: start.sequence,
    size: () => entries.size,
    stop: () => follower.stop(),
  };
}
