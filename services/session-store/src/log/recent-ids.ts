/**
 * Request and event ids of the newest frames of one session: the window in which a repeat is recognised. It holds the
 * last `maxFrames` frames; a cold session reads that many back, so a restart does not shorten it.
 */

/** The window of one session. */
export interface RecentIds {
  /** Learns the ids of the next frame; they are sorted in when there is time, or when one is asked for. */
  add(frame: number, requestId: string, events: readonly { readonly id: string }[]): void;
  /** Frame that was appended under a request id. */
  frameOfRequest(requestId: string): number | undefined;
  /** Frame that holds an event. */
  frameOfEvent(eventId: string): number | undefined;
  /** Sorts in what was learnt. */
  settle(): void;
  /** Number of ids held. */
  readonly size: () => number;
}

/** Frames in which repeats are recognised. */
export const recentFrames = 256;

const maxUnsettled = 32;

type Learnt = readonly [frame: number, requestId: string, events: readonly { readonly id: string }[]];

/** An empty window. */
export function createRecentIds(maxFrames = recentFrames): RecentIds {
  const requests = new Map<string, number>();
  const events = new Map<string, number>();
  const queue: { readonly requestId: string; readonly eventIds: readonly string[] }[] = [];
  let unsettled: Learnt[] = [];

  const sortIn = ([frame, requestId, list]: Learnt) => {
    const eventIds = list.map((event) => event.id);
    queue.push({ requestId, eventIds });
    if (requestId !== "") requests.set(requestId, frame);
    for (const id of eventIds) events.set(id, frame);
    if (queue.length <= maxFrames) return;
    const oldest = queue.shift();
    if (oldest === undefined) return;
    requests.delete(oldest.requestId);
    for (const id of oldest.eventIds) events.delete(id);
  };
  const settle = () => {
    if (unsettled.length === 0) return;
    const learnt = unsettled;
    unsettled = [];
    for (const one of learnt) sortIn(one);
  };

  return {
    add(frame, requestId, list) {
      unsettled.push([frame, requestId, list]);
      if (unsettled.length >= maxUnsettled) settle();
    },
    frameOfRequest(requestId) {
      settle();
      return requests.get(requestId);
    },
    frameOfEvent(eventId) {
      settle();
      return events.get(eventId);
    },
    settle,
    size() {
      settle();
      return requests.size + events.size;
    },
  };
}
