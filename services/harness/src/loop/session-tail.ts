/**
 * What is heard of a session's log as it is stored. A hint that may have holes: it tells that there is something new and
 * saves reading it again, but what does not join the log seamlessly is read from session-store.
 */
import { fromBinary } from "@bufbuild/protobuf";
import type { StoredFrame, Unsubscribe } from "@manyhands/bus";
import type { SessionEvent, UnknownEvent } from "@manyhands/core";
import { decodeEvent, FrameSchema } from "@manyhands/protocol";

/** Any stored event. */
export type StoredEvent = SessionEvent | UnknownEvent;

/** An open ear. Survives the turn, so that the next one of a warm session need not read. */
export interface SessionTail {
  /** Events heard since the last call, oldest first. */
  take(): StoredEvent[];
  /** Told the head after each frame. One listener at a time; undefined while nobody drives the session. */
  onNews: ((head: number) => void) | undefined;
  /** Stops listening; twice is fine. */
  close(): void;
}

const maxHeardFrames = 64;

/** Listens by `subscribe`; keeps the newest frames only, so that a session nobody drives holds little memory. */
export async function createSessionTail(
  subscribe: (onFrame: (frame: StoredFrame) => void) => Promise<Unsubscribe>,
): Promise<SessionTail> {
  let heard: Uint8Array[] = [];
  const tail: SessionTail = {
    take() {
      const frames = heard;
      heard = [];
      return frames.flatMap(eventsOf);
    },
    onNews: undefined,
    close: () => unsubscribe(),
  };
  const unsubscribe = await subscribe((frame) => {
    heard.push(frame.payload);
    if (heard.length > maxHeardFrames) heard.shift();
    tail.onNews?.(frame.position + frame.count);
  });
  return tail;
}

/** Frames carry positions once; events get theirs from the first one. */
function eventsOf(payload: Uint8Array): StoredEvent[] {
  return fromBinary(FrameSchema, payload).events.map(decodeEvent);
}
