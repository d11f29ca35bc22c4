/** Frames in memory: for tests and as the second witness of the contract. Nothing survives the process. */
import type { EventStore, FrameToAppend, LogFollowerOptions, StoredFrame } from "./event-store.ts";

/** A store of its own; asynchronous like the real one, so that orders of events are as adversarial. */
export function createMemoryEventStore(): EventStore {
  const sessions = new Map<string, Map<number, StoredFrame>>();
  const log = new Map<number, StoredFrame>();
  const tails = new Map<string, Set<(frame: StoredFrame) => void>>();
  const followers = new Set<(frame: StoredFrame) => void>();
  let sequence = 0;

  const store = (frame: FrameToAppend): StoredFrame => {
    sequence += 1;
    const { sessionId, payload, position, count } = frame;
    const stored = { sessionId, frame: frame.frame, payload: payload.slice(), position, count, sequence };
    const frames = sessions.get(sessionId) ?? new Map<number, StoredFrame>();
    sessions.set(sessionId, frames.set(frame.frame, stored));
    log.set(sequence, stored);
    for (const onFrame of [...(tails.get(sessionId) ?? []), ...followers]) queueMicrotask(() => onFrame(stored));
    return stored;
  };

  return {
    async append(frame) {
      await turn();
      if (sessions.get(frame.sessionId)?.has(frame.frame)) return { kind: "exists" };
      return { kind: "stored", sequence: store(frame).sequence };
    },
    async read(sessionId, frames) {
      await turn();
      const found = frames.flatMap((frame) => sessions.get(sessionId)?.get(frame) ?? []);
      return found.sort((a, b) => a.frame - b.frame);
    },
    async readFromLeader(sessionId, frame) {
      await turn();
      return sessions.get(sessionId)?.get(frame)?.payload;
    },
    async exists(sessionId) {
      await turn();
      return sessions.has(sessionId);
    },
    async lastFrame(sessionId) {
      await turn();
      return sessions.get(sessionId)?.size ? Math.max(...(sessions.get(sessionId)?.keys() ?? [])) : undefined;
    },
    async purge(sessionId, keep = 1) {
      await turn();
      const frames = sessions.get(sessionId) ?? new Map<number, StoredFrame>();
      const newest = Math.max(...frames.keys());
      const gone = [...frames.values()].filter((frame) => keep === 0 || frame.frame !== newest);
      for (const frame of gone) {
        frames.delete(frame.frame);
        log.delete(frame.sequence);
      }
      if (frames.size === 0) sessions.delete(sessionId);
      return gone.length;
    },
    async tail(sessionId, onFrame) {
      await turn();
      const set = tails.get(sessionId) ?? new Set();
      tails.set(sessionId, set.add(onFrame));
      return () => {
        set.delete(onFrame);
        if (set.size === 0) tails.delete(sessionId);
      };
    },
    async follow(options: LogFollowerOptions) {
      await turn();
      let told = options.fromSequence - 1;
      const onFrame = (frame: StoredFrame) => {
        told = frame.sequence;
        options.onFrame(frame);
      };
      for (const frame of log.values()) if (frame.sequence >= options.fromSequence) onFrame(frame);
      options.onCaughtUp();
      followers.add(onFrame);
      return {
        sequence: () => told,
        skip: () => undefined, // everything is told by then
        async readOn(upTo) {
          await turn();
          return told >= upTo;
        },
        stop: async () => void followers.delete(onFrame),
      };
    },
    available: () => true,
    onReconnect: () => () => undefined,
  };
}

/** One turn of the event loop, which every real store takes too. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
