/** Which frames may hold an id, for all frames older than the window of recent ids. */
import { framesPerSegment, type IdKey } from "./id-segment.ts";

/** The older ids of one session, segment after segment. */
export interface OlderIds {
  /** Learns the next segment. */
  add(entries: readonly { readonly key: IdKey; readonly offset: number }[]): void;
  /** Number of segments learnt: frames below 128 times that are covered. */
  segments(): number;
  /** Frames that may hold the id, newest first. */
  framesOf(key: IdKey): readonly number[];
  /** Number of ids held. */
  readonly size: () => number;
}

/** Nothing is learnt yet. */
export function createOlderIds(): OlderIds {
  const frames = new Map<IdKey, number | number[]>(); // nearly always one frame: a list for each would cost more than it
  let segments = 0;
  return {
    add(entries) {
      for (const { key, offset } of entries) {
        const frame = segments * framesPerSegment + offset;
        const known = frames.get(key);
        frames.set(key, known === undefined ? frame : [frame, ...(typeof known === "number" ? [known] : known)]);
      }
      segments += 1;
    },
    segments: () => segments,
    framesOf(key) {
      const known = frames.get(key);
      return known === undefined ? [] : typeof known === "number" ? [known] : known;
    },
    size: () => frames.size,
  };
}
