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
  /** The same, left where they are. */
  peek(): StoredEvent[];
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
  let heard: HeardFrame[] = [];
  const tail: SessionTail = {
    take() {
      const events = tail.peek();
      heard = [];
      return events;
    },
    peek: () => heard.flatMap(eventsOf),
    onNews: undefined,
    close: () => unsubscribe(),
  };
  const unsubscribe = await subscribe((frame) => {
    heard.push({ payload: frame.payload, events: undefined });
    if (heard.length > maxHeardFrames) heard.shift();
    tail.onNews?.(frame.position + frame.count);
  });
  return tail;
}

/** A frame as it came in; decoded when somebody looks at it. */
interface HeardFrame {
  readonly payload: Uint8Array;
  events: StoredEvent[] | undefined;
}

/** Frames carry positions once; events get theirs from the first one. */
function eventsOf(frame: HeardFrame): StoredEvent[] {
  frame.events ??= fromBinary(FrameSchema, frame.payload).events.map(decodeEvent);
  return frame.events;
}
