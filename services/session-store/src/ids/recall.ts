/**
 * Recognises repeats however old they are. The newest 256 frames are known anyway; everything older is in segments
 * beside the log, each made once from 128 frames when they are complete, in the background: an append never waits for
 * one. A segment is only derived, so there is no order in which a crash can hurt: whoever misses one makes it again.
 */
import { type Logger, toAppError } from "@manyhands/kit";
import type { Frame } from "@manyhands/protocol";
import type { HotSession } from "../log/hot-session.ts";
import { recentFrames } from "../log/recent-ids.ts";
import type { SideStore } from "../store/side-store.ts";
import { decodeSegment, encodeSegment, eventKey, framesPerSegment, idsOfFrame, requestKey } from "./id-segment.ts";

/** Frames by the ids they hold. */
export interface KnownIds {
  frameOfRequest(requestId: string): number | undefined;
  frameOfEvent(eventId: string): number | undefined;
}

/** What an append says that may have been said before. */
export interface Repeatable {
  readonly requestId: string;
  readonly events: readonly { readonly id: string }[];
  readonly epoch: number;
  /** False when no id comes from the caller, so that nothing can be a repeat. */
  readonly mayRepeat?: boolean;
}

/** Recognises repeats. */
export interface Recall {
  /** What is known of the ids of an append, as of the session's present head. Throws AppError `unavailable`. */
  idsFor(hot: HotSession, append: Repeatable): Promise<KnownIds>;
  /** Told after each stored frame; makes a segment when one is complete. Returns at once. */
  stored(hot: HotSession): void;
  /** Resolves when nothing is being made. */
  settled(): Promise<void>;
}

/** What it needs. */
export interface RecallDeps {
  readonly side: SideStore;
  /** The frames `[from, to)`, all of them. */
  readWhole(hot: HotSession, from: number, to: number): Promise<Frame[]>;
  readonly logger?: Logger;
}

const segmentsPerRead = 256;
const maxMaking = 16;

/** Segments that have frames below the window; each is complete, because the window is longer than one. */
function segmentsNeeded(hot: HotSession): number {
  return Math.ceil(Math.max(0, hot.nextFrame - recentFrames) / framesPerSegment);
}

/** Recall over a side store. */
export function createRecall(deps: RecallDeps): Recall {
  const making = new Set<Promise<void>>();

  /** A segment is complete while its frames are in the window: they are read only when an older one is missing. */
  const idsOfFrames = async (hot: HotSession, from: number, to: number) =>
    hot.recent.idsOf(from, to) ??
    (await deps.readWhole(hot, from, to)).map((frame) => idsOfFrame(frame.requestId, frame.events));

  const make = async (hot: HotSession, segment: number): Promise<Uint8Array> => {
    const first = segment * framesPerSegment;
    const bytes = encodeSegment(await idsOfFrames(hot, first, first + framesPerSegment));
    await deps.side.create(hot.sessionId, { key: { kind: "ids", segment }, bytes });
    return bytes;
  };

  const learn = async (hot: HotSession): Promise<void> => {
    while (hot.older.segments() < segmentsNeeded(hot)) {
      const first = hot.older.segments();
      const needed = segmentsNeeded(hot);
      const wanted = Array.from({ length: Math.min(segmentsPerRead, needed - first) }, (_, n) => first + n);
      const stored = await deps.side.read(
        hot.sessionId,
        wanted.map((segment) => ({ kind: "ids", segment })),
      );
      for (const [at, segment] of wanted.entries()) {
        const entries = decodeSegment(stored[at] ?? new Uint8Array()) ?? decodeSegment(await make(hot, segment)) ?? [];
        // Another call may have learnt it meanwhile.
        if (hot.older.segments() === segment) hot.older.add(entries);
      }
    }
  };

  const check = async (hot: HotSession, frames: readonly number[], holds: (frame: Frame) => boolean) => {
    for (const number of frames) {
      const [frame] = await deps.readWhole(hot, number, number + 1);
      if (frame !== undefined && holds(frame)) return number;
    }
    return undefined;
  };

  const olderEvent = (hot: HotSession, id: string) =>
    check(hot, hot.older.framesOf(eventKey(id)), (frame) => frame.events.some((event) => event.id === id));

  const lookUp = async (hot: HotSession, append: Repeatable): Promise<KnownIds> => {
    const { recent } = hot;
    const { requestId } = append;
    const request =
      requestId === "" || recent.frameOfRequest(requestId) !== undefined
        ? undefined
        : await check(hot, hot.older.framesOf(requestKey(requestId)), (frame) => frame.requestId === requestId);
    const events = new Map<string, number>();
    for (const { id } of append.events) {
      const frame = recent.frameOfEvent(id) ?? (await olderEvent(hot, id));
      if (frame !== undefined) events.set(id, frame);
    }
    return {
      frameOfRequest: (id) => recent.frameOfRequest(id) ?? (id === requestId ? request : undefined),
      frameOfEvent: (id) => recent.frameOfEvent(id) ?? events.get(id),
    };
  };

  return {
    async idsFor(hot, append) {
      if (append.mayRepeat === false || append.epoch !== 0 || hot.nextFrame <= recentFrames) return hot.recent;
      for (;;) {
        await learn(hot);
        const known = await lookUp(hot, append);
        if (hot.older.segments() >= segmentsNeeded(hot)) return known; // else others appended a lot meanwhile
      }
    },
    stored(hot) {
      if (hot.nextFrame % framesPerSegment !== 0 || making.size >= maxMaking) return;
      const work = make(hot, hot.nextFrame / framesPerSegment - 1).then(
        () => undefined,
        (error: unknown) => {
          const context = { err: toAppError(error), session_id: hot.sessionId };
          deps.logger?.debug(context, "a segment of ids is left to be made when it is needed");
        },
      );
      making.add(work);
      void work.finally(() => making.delete(work));
    },
    async settled() {
      await Promise.allSettled(making);
    },
  };
}
