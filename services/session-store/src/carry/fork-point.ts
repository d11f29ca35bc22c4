/** Where a fork leaves its origin, found without reading the history: one lookup by position, whatever its length. */
import { AppError } from "@manyhands/kit";
import type { Event } from "@manyhands/protocol";
import { locate, readWhole } from "../log/event-reader.ts";
import type { HotSession } from "../log/hot-session.ts";
import { range } from "../log/session-cache.ts";
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

const probesPerRound = 8;
const maxRounds = 32;

/** The point before the event at `position`, which is at most the head. */
export async function findForkPoint(store: EventStore, hot: HotSession, position: number): Promise<ForkPoint> {
  const { nextFrame, lastHash } = hot;
  if (position === hot.header?.head_position) return { frames: nextFrame, previousHash: lastHash, repeated: [] };
  const number = await frameAt(store, hot, position, nextFrame);
  const [frame] = await readWhole(store, hot, number, number + 1);
  if (frame === undefined) throw AppError.internal(new Error(`frame ${number} was read as nothing`));
  const repeated = frame.events.filter((event) => Number(event.position) < position);
  return { frames: number, previousHash: frame.previousHash, repeated };
}

/** Number of the frame that holds a position: told by positions stored beside frames, so that none is decoded. */
async function frameAt(store: EventStore, hot: HotSession, position: number, nextFrame: number): Promise<number> {
  let low = await locate(store, hot, position);
  let behind = Math.min(hot.index.around(position).behind?.frame ?? nextFrame, nextFrame);
  for (let round = 0; behind - low > 1; round += 1) {
    if (round >= maxRounds) throw AppError.internal(new Error(`position ${position} was not found`));
    const step = Math.max(1, Math.ceil((behind - low) / (probesPerRound + 1)));
    const numbers = range(1, probesPerRound + 1).map((n) => low + n * step);
    const probes = numbers.filter((number) => number < behind);
    const found = await store.read(hot.sessionId, probes);
    if (found.length < probes.length) await readWhole(store, hot, low, behind); // says which is missing, and why
    for (const one of found) {
      if (one.position <= position) low = Math.max(low, one.frame);
      else behind = Math.min(behind, one.frame);
    }
  }
  return low;
}
