/** Where in a log a time lies: times never run backwards in a session, so it is found by halving, not by reading along. */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { EventStore } from "../store/event-store.ts";
import { readWhole } from "./event-reader.ts";
import type { HotSession } from "./hot-session.ts";

/** A span of time in milliseconds since 1970, `[fromMs, beforeMs)`. */
export interface TimeSpan {
  readonly fromMs?: number;
  readonly beforeMs?: number;
}

/**
 * Positions `[from, to)` outside of which no event lies in the span; a frame's worth may be too much on either side. Reads
 * about twice as many frames as the number of frames has binary digits.
 */
export async function timeBounds(
  store: EventStore,
  hot: HotSession,
  { fromMs, beforeMs }: TimeSpan,
): Promise<{ readonly from: number; readonly to: number }> {
  const head = hot.header?.head_position ?? 0;
  const frames = hot.nextFrame;
  const [first, behind] = [
    fromMs === undefined ? 0 : Math.max(0, (await firstFrameAt(store, hot, fromMs)) - 1),
    beforeMs === undefined ? frames : await firstFrameAt(store, hot, beforeMs),
  ];
  return {
    from: first === 0 ? 0 : (await beginOf(store, hot, first)).position,
    to: behind >= frames ? head : (await beginOf(store, hot, behind)).position,
  };
}

/** Number of the first frame that begins at or after the time; the number of frames when none does. */
async function firstFrameAt(store: EventStore, hot: HotSession, ms: number): Promise<number> {
  let [low, high] = [0, hot.nextFrame];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((await beginOf(store, hot, middle)).atMs < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function beginOf(store: EventStore, hot: HotSession, frame: number) {
  const [read] = await readWhole(store, hot, frame, frame + 1);
  const at = read?.events[0]?.createdAt;
  return { position: Number(read?.firstPosition ?? 0n), atMs: at === undefined ? 0 : timestampMs(at) };
}
