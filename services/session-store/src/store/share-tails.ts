/**
 * One subscription per session, however many watch it: the server sends a frame once, and its headers and bytes are
 * read once.
 */
import type { EventStore, StoredFrame } from "./event-store.ts";

type Tail = EventStore["tail"];

interface Shared {
  readonly listeners: Set<(frame: StoredFrame) => void>;
  /** Resolves to what ends the subscription, once frames arrive. */
  readonly started: Promise<() => void>;
}

/** The tail that subscribes on a session's first listener and ends with its last. */
export function shareTails(subscribe: Tail): Tail {
  const sessions = new Map<string, Shared>();

  const start = (sessionId: string): Shared => {
    const listeners: Shared["listeners"] = new Set();
    const started = subscribe(sessionId, (frame) => {
      for (const listener of listeners) listener(frame);
    });
    const shared = { listeners, started };
    sessions.set(sessionId, shared);
    started.catch(() => forget(sessionId, shared));
    return shared;
  };
  const forget = (sessionId: string, shared: Shared) => {
    if (sessions.get(sessionId) === shared) sessions.delete(sessionId);
  };

  return async (sessionId, onFrame) => {
    const shared = sessions.get(sessionId) ?? start(sessionId);
    const listener = (frame: StoredFrame) => onFrame(frame); // the same function may listen twice
    shared.listeners.add(listener);
    const end = await shared.started;
    return () => {
      if (!shared.listeners.delete(listener) || shared.listeners.size > 0) return;
      forget(sessionId, shared);
      end();
    };
  };
}
