/** Where an event is, by its id: the window of recent ids first, else the segments of older ones. */
import { AppError } from "@manyhands/kit";
import type { Recall } from "../ids/recall.ts";
import type { EventStore } from "../store/event-store.ts";
import { readWhole } from "./event-reader.ts";
import type { HotSession } from "./hot-session.ts";

/** Position of an event, wherever it is. Throws NOT_FOUND. */
export async function findPosition(
  { store, recall }: { readonly store: EventStore; readonly recall: Recall },
  hot: HotSession,
  eventId: string,
): Promise<number> {
  const known = await recall.idsFor(hot, { requestId: "", events: [{ id: eventId }], epoch: 0 });
  const frame = known.frameOfEvent(eventId);
  const [read] = frame === undefined ? [] : await readWhole(store, hot, frame, frame + 1);
  const event = read?.events.find((one) => one.id === eventId);
  if (event === undefined) throw AppError.notFound("event", eventId);
  return Number(event.position);
}
