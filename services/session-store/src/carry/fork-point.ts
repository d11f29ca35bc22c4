/** Where a fork leaves its origin, found without reading the history: one lookup by position, whatever its length. */
import { AppError } from "@manyhands/kit";
import type { Event } from "@manyhands/protocol";
import { locate, readWhole } from "../log/event-reader.ts";
import type { HotSession } from "../log/hot-session.ts";
import type { EventStore } from "../store/event-store.ts";

/** What a fork shares and what it must repeat. */
export interface ForkPoint {
  /** Whole frames below the point. */
  readonly frames: number;
  /** Hash of the last of them. */
  readonly previousHash: Uint8Array;
  /** Events below the point in the frame that it lies in: at most 63. */
  readonly repeated: readonly Event[];
}

const framesPerRead = 64;
const maxReads = 64;

/** The point before the event at `position`, which is at most the head. */
export async function findForkPoint(store: EventStore, hot: HotSession, position: number): Promise<ForkPoint> {
  const { nextFrame, lastHash } = hot;
  if (position === hot.header?.head_position) return { frames: nextFrame, previousHash: lastHash, repeated: [] };
  let number = await locate(store, hot, position);
  for (let reads = 0; reads < maxReads && number < nextFrame; reads += 1) {
    const frames = await readWhole(store, hot, number, Math.min(nextFrame, number + framesPerRead));
    const at = frames.findIndex((one) => Number(one.firstPosition) + one.events.length > position);
    const frame = frames[at];
    if (frame === undefined) {
      number += frames.length;
      continue;
    }
    const repeated = frame.events.filter((event) => Number(event.position) < position);
    return { frames: number + at, previousHash: frame.previousHash, repeated };
  }
  throw AppError.internal(new Error(`the frame of position ${position} was not found in ${maxReads} reads`));
}
