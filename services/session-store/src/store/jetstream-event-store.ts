/** Frames in JetStream. */
import {
  type Bus,
  createDirectReader,
  createFrameAppender,
  createFrameReader,
  followLog,
  hasFrames,
  lastFrameNumber,
  purgeSession,
  readFrameFromLeader,
  subscribeTail,
} from "@manyhands/bus";
import type { EventStore } from "./event-store.ts";
import { shareTails } from "./share-tails.ts";

const readTimeoutMs = 5000;
const purgeTimeoutMs = 30_000;

/** The store on a connected bus whose streams were applied; `close` ends its reads. */
export function createJetStreamEventStore(bus: Bus): EventStore & { close(): void } {
  const reader = createDirectReader(bus);
  const readFrames = createFrameReader(reader);
  const appender = createFrameAppender(bus);
  return {
    append: (frame, timeoutMs) => appender.append(frame, timeoutMs),
    read: (sessionId, frames) => readFrames(sessionId, frames, readTimeoutMs),
    readFromLeader: async (sessionId, frame, timeoutMs) =>
      (await readFrameFromLeader(bus, sessionId, frame, timeoutMs))?.payload,
    exists: (sessionId) => hasFrames(bus, sessionId, readTimeoutMs),
    lastFrame: (sessionId) => lastFrameNumber(bus, sessionId, readTimeoutMs),
    purge: (sessionId, keep) => purgeSession(bus, sessionId, purgeTimeoutMs, keep),
    tail: shareTails((sessionId, onFrame) => subscribeTail(bus, sessionId, onFrame)),
    follow: (options) => followLog(bus, options),
    available: () => bus.connected(),
    onReconnect: (listener) => bus.onReconnect(listener),
    close: () => reader.close(),
  };
}
