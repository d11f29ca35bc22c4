/** Where an event is, by its id: the window of recent ids first, else the log backwards from its end. */
import { AppError } from "@manyhands/kit";
import type { EventStore } from "../store/event-store.ts";
import { readEvents } from "./event-reader.ts";
import type { HotSession } from "./hot-session.ts";
import { decodeFrame } from "./hot-session.ts";

/** Position of an event. Throws NOT_FOUND. Outside the window the cost grows with the distance from the head. */
export async function findPosition(
  store: EventStore,
  hot: HotSession,
  eventId: string,
  signal: AbortSignal,
): Promise<number> {
  const frame = hot.recent.frameOfEvent(eventId);
  if (frame !== undefined) {
    const [stored] = await store.read(hot.sessionId, [frame]);
    const event = stored === undefined ? undefined : decodeFrame(stored).events.find((one) => one.id === eventId);
    if (event !== undefined) return Number(event.position);
  }
  const to = hot.header?.head_position ?? 0;
  for await (const chunk of readEvents(store, hot, { from: 0, to, descending: true, hint: 1000 })) {
    signal.throwIfAborted();
    const event = chunk.find((one) => one.id === eventId);
    if (event !== undefined) return event.position;
  }
  throw AppError.notFound("event", eventId);
}
