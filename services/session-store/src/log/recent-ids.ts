/**
 * Request and event ids of the newest frames of one session: the window in which a repeat is recognised. It holds the
 * last `maxFrames` frames; a cold session reads that many back, so a restart does not shorten it.
 */
import type { Event } from "@manyhands/protocol";
import { type FrameIds, idsOfFrame } from "../ids/id-segment.ts";

type EventIds = readonly Pick<Event, "id" | "epoch">[];

/** The window of one session. */
export interface RecentIds {
  /** Learns the ids of the next frame. */
  add(frame: number, requestId: string, events: EventIds): void;
  /** The ids of the frames `[from, to)`; undefined when not all of them are in the window. */
  idsOf(from: number, to: number): readonly FrameIds[] | undefined;
  /** Frame that was appended under a request id. */
  frameOfRequest(requestId: string): number | undefined;
  /** Frame that holds an event. */
  frameOfEvent(eventId: string): number | undefined;
  /** Number of ids held. */
  readonly size: () => number;
}

/** Frames in which repeats are recognised. */
export const recentFrames = 256;

interface Held {
  readonly frame: number;
  readonly eventIds: readonly string[];
  readonly ids: FrameIds;
  /** Whether its ids can be looked up. */
  isSorted: boolean;
}

/** An empty window. Ids are sorted in when one is asked for: whoever appends without ids of its own never asks. */
export function createRecentIds(maxFrames = recentFrames): RecentIds {
  const requests = new Map<string, number>();
  const events = new Map<string, number>();
  const held: Held[] = [];
  let size = 0;

  const sizeOf = ({ eventIds, ids }: Held) => eventIds.length + (ids.requestId === "" ? 0 : 1);
  const sortIn = () => {
    for (let at = held.findLastIndex((one) => one.isSorted) + 1; at < held.length; at += 1) {
      const one = held[at];
      if (one === undefined) break;
      if (one.ids.requestId !== "") requests.set(one.ids.requestId, one.frame);
      for (const id of one.eventIds) events.set(id, one.frame);
      one.isSorted = true;
    }
  };
  const forget = (one: Held) => {
    size -= sizeOf(one);
    if (!one.isSorted) return;
    requests.delete(one.ids.requestId);
    for (const id of one.eventIds) events.delete(id);
  };

  return {
    add(frame, requestId, list) {
      const ids = idsOfFrame(requestId, list);
      const eventIds = ids.eventIds.length === list.length ? ids.eventIds : list.map((event) => event.id);
      const one = { frame, eventIds, ids, isSorted: false };
      held.push(one);
      size += sizeOf(one);
      const oldest = held.length > maxFrames ? held.shift() : undefined;
      if (oldest !== undefined) forget(oldest);
    },
    idsOf(from, to) {
      const found = held.filter(({ frame }) => frame >= from && frame < to).map(({ ids }) => ids);
      return found.length === to - from ? found : undefined;
    },
    frameOfRequest(requestId) {
      sortIn();
      return requests.get(requestId);
    },
    frameOfEvent(eventId) {
      sortIn();
      return events.get(eventId);
    },
    size: () => size,
  };
}
