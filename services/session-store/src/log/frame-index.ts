/**
 * Which frame holds a position: anchors (frame, first position) at a bounded number of places. Between two anchors a
 * reader over-reads or probes. When there are too many anchors, every second one is dropped and the stride doubles.
 */

/** Anchors of one session. */
export interface FrameIndex {
  /** Learns where a frame begins. */
  note(frame: number, position: number): void;
  /** The nearest anchors around a position: the frame to begin at, and the first frame that is surely behind it. */
  around(position: number): { readonly from: Anchor; readonly behind?: Anchor };
  /** Number of anchors. */
  readonly size: () => number;
}

/** A frame and the position of its first event. */
export interface Anchor {
  readonly frame: number;
  readonly position: number;
}

const defaultMaxAnchors = 4096;
const firstStride = 8;

/** An empty index; frame 0 begins at position 0. */
export function createFrameIndex(maxAnchors = defaultMaxAnchors): FrameIndex {
  let anchors: Anchor[] = [{ frame: 0, position: 0 }];
  let stride = firstStride;

  /** Number of anchors at or before the position. */
  const countUpTo = (position: number): number => {
    let [low, high] = [0, anchors.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((anchors[middle]?.position ?? 0) <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  return {
    note(frame, position) {
      const at = countUpTo(position);
      const before = anchors[at - 1];
      const after = anchors[at];
      if (before !== undefined && frame - before.frame < stride) return;
      if (after !== undefined && after.frame - frame < stride) return;
      anchors.splice(at, 0, { frame, position });
      if (anchors.length > maxAnchors) {
        anchors = anchors.filter((_, index) => index % 2 === 0);
        stride *= 2;
      }
    },
    around(position) {
      const at = countUpTo(position);
      const behind = anchors[at];
      const from = anchors[at - 1] ?? { frame: 0, position: 0 };
      return behind === undefined ? { from } : { from, behind };
    },
    size: () => anchors.length,
  };
}
