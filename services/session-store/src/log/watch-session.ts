/**
 * History, then live, without gap or duplicate. The tail is armed before the history is read. Phases: (1) read the log
 * from the start to the head, whatever the tail says meanwhile; (2) say caught up; (3) take frames from the tail. The
 * tail is only a hint: a frame beyond the next one, a reconnect or a heartbeat makes the log be read for what is
 * missing. During (1) a full buffer costs nothing, the log has it all; during (3) it means that the reader is too slow:
 * it is dropped and told where to go on.
 */
import { AppError, raceAbort } from "@manyhands/kit";
import type { Delta } from "@manyhands/protocol";
import type { EventStore, StoredFrame } from "../store/event-store.ts";
import { readEvents } from "./event-reader.ts";
import type { HotSession } from "./hot-session.ts";
import { type EventFilter, lets } from "./select-events.ts";
import type { SessionCache } from "./session-cache.ts";
import { placeFrame, type StoredEvent } from "./stored-event.ts";
import { createWatchBuffer, type WatchBuffer } from "./watch-buffer.ts";

/** One item of a watch. */
export type WatchItem =
  | { readonly kind: "event"; readonly event: StoredEvent }
  | { readonly kind: "delta"; readonly delta: Delta }
  | { readonly kind: "caughtUp"; readonly headPosition: number }
  | { readonly kind: "heartbeat"; readonly headPosition: number };

/** What is watched. */
export interface WatchQuery {
  readonly hot: HotSession;
  /** First position to send. */
  readonly from: number;
  readonly filter: EventFilter;
  readonly heartbeatMs: number;
  readonly includeDeltas: boolean;
}

/** What a watch needs. */
export interface WatchDeps {
  readonly store: EventStore;
  readonly cache: SessionCache;
  /** Token deltas of a session. */
  deltas(sessionId: string, onDelta: (delta: Delta) => void): Promise<() => void>;
  readonly maxBufferedFrames: number;
  readonly maxBufferedBytes: number;
}

const retryReadMs = 500;

type Buffered = { readonly frame: StoredFrame } | { readonly delta: Delta };

/**
 * Items until the session is deleted, the signal aborts, or the reader is too slow; as they come together, because a
 * step of an asynchronous generator costs more than most events do.
 */
export async function* watchSession(
  deps: WatchDeps,
  query: WatchQuery,
  signal: AbortSignal,
): AsyncGenerator<readonly WatchItem[]> {
  const buffer = createWatchBuffer<Buffered>(deps.maxBufferedFrames, deps.maxBufferedBytes);
  const state: State = { overflowed: false, suspect: false };
  const stops: (() => void)[] = [];
  try {
    stops.push(await deps.store.tail(query.hot.sessionId, (frame) => onFrame(buffer, state, frame)));
    stops.push(deps.store.onReconnect(() => suspectGap(buffer, state)));
    if (query.includeDeltas) {
      // A delta without room is dropped: the durable event that ends it has the same id.
      const onDelta = (delta: Delta) => void buffer.push({ delta }, 256);
      stops.push(await deps.deltas(query.hot.sessionId, onDelta));
    }
    yield* batches(deps, query, buffer, state, signal);
  } finally {
    for (const stop of stops) stop();
  }
}

interface State {
  /** A frame found no room. */
  overflowed: boolean;
  /** The tail may have missed something. */
  suspect: boolean;
}

function onFrame(buffer: WatchBuffer<Buffered>, state: State, frame: StoredFrame): void {
  if (!buffer.push({ frame }, frame.payload.length)) state.overflowed = true;
}

function suspectGap(buffer: WatchBuffer<Buffered>, state: State): void {
  state.suspect = true;
  buffer.wake();
}

/** What is looked at in a frame that several watchers share is looked at once. */
const placed = new WeakMap<StoredFrame, readonly StoredEvent[]>();

function eventsOf(stored: StoredFrame): readonly StoredEvent[] {
  const known = placed.get(stored);
  if (known !== undefined) return known;
  const { events } = placeFrame(stored);
  placed.set(stored, events);
  return events;
}

async function* batches(
  deps: WatchDeps,
  query: WatchQuery,
  buffer: WatchBuffer<Buffered>,
  state: State,
  signal: AbortSignal,
): AsyncGenerator<readonly WatchItem[]> {
  let next = query.from;
  let sent = 0;
  const head = () => Math.max(sent, query.hot.header?.head_position ?? 0);
  const take = (events: readonly StoredEvent[]): { items: WatchItem[]; over: boolean } => {
    const items: WatchItem[] = [];
    for (const event of events) {
      if (event.position < next) continue;
      next = event.position + 1;
      sent = next;
      const over = event.type === "session.deleted";
      if (over || lets(query.filter, event)) items.push({ kind: "event", event });
      if (over) return { items, over };
    }
    return { items, over: false };
  };
  const readOn = async function* (): AsyncGenerator<readonly WatchItem[], boolean> {
    await raceAbort(deps.cache.catchUp(query.hot), signal);
    const to = query.hot.header?.head_position ?? 0;
    for await (const chunk of readEvents(deps.store, query.hot, { from: next, to, descending: false, hint: 100 })) {
      signal.throwIfAborted();
      const { items, over } = take(chunk);
      yield items;
      if (over) return true;
    }
    return false;
  };

  if (yield* readOn()) return;
  if (state.overflowed) {
    // The buffer filled while history was read: drop what it has and read that from the log as well.
    buffer.clear();
    state.overflowed = false;
    if (yield* readOn()) return;
  }
  yield [{ kind: "caughtUp", headPosition: head() }];

  // While the store is away a live watch waits for it; the reader keeps its place and hears heartbeats.
  const readOnWhenPossible = async function* (): AsyncGenerator<readonly WatchItem[], boolean> {
    try {
      return yield* readOn();
    } catch (error) {
      if (!(error instanceof AppError) || error.kind !== "unavailable" || signal.aborted) throw error;
      state.suspect = true;
      await buffer.wait(retryReadMs, signal);
      return false;
    }
  };

  let beatAt = performance.now() + query.heartbeatMs;
  for (;;) {
    signal.throwIfAborted();
    if (state.overflowed) throw tooSlow(next);
    const item = buffer.shift();
    if (item !== undefined && "delta" in item) {
      yield [{ kind: "delta", delta: item.delta }];
      continue;
    }
    if (item !== undefined) {
      if (item.frame.position > next) {
        if (yield* readOnWhenPossible()) return;
        continue;
      }
      const { items, over } = take(eventsOf(item.frame));
      yield items;
      if (over) return;
      continue;
    }
    const leftMs = beatAt - performance.now();
    if (state.suspect || leftMs <= 0) {
      // A missed tail is found at the next heartbeat at the latest.
      state.suspect = false;
      if (yield* readOnWhenPossible()) return;
      if (leftMs > 0) continue;
      yield [{ kind: "heartbeat", headPosition: head() }];
      beatAt = performance.now() + query.heartbeatMs;
      continue;
    }
    await buffer.wait(leftMs, signal);
  }
}

function tooSlow(next: number): AppError {
  return new AppError("exhausted", {
    reason: "READER_TOO_SLOW",
    message: `the reader is too slow for the bounded buffer; go on after position ${next - 1}`,
    details: { metadata: { resume_after_position: String(next - 1) } },
    retry: "now",
  });
}
