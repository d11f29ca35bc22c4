/** Which events a reader wants, and one page of them. Scanning is bounded: a page may come back short with a cursor. */
import { isPlatformEvent } from "@manyhands/core";
import type { EventStore } from "../store/event-store.ts";
import { readEvents } from "./event-reader.ts";
import type { HotSession } from "./hot-session.ts";
import type { StoredEvent } from "./stored-event.ts";

/** What lets an event through. */
export interface EventFilter {
  /** Empty means all types. */
  readonly types: readonly string[];
  readonly includePlatform: boolean;
  readonly fromMs?: number;
  readonly beforeMs?: number;
}

/** True when the filter lets the event through. A type that is asked for by name is not hidden. */
export function lets(filter: EventFilter, event: StoredEvent): boolean {
  const { types, includePlatform, fromMs = 0, beforeMs = Number.POSITIVE_INFINITY } = filter;
  if (types.length > 0 ? !types.includes(event.type) : !includePlatform && isPlatformEvent(event.type)) return false;
  const anyTime = fromMs === 0 && beforeMs === Number.POSITIVE_INFINITY;
  return anyTime || (event.atMs >= fromMs && event.atMs < beforeMs);
}

/** What to page through. */
export interface PageQuery {
  /** Positions `[from, to)`. */
  readonly from: number;
  readonly to: number;
  readonly descending: boolean;
  readonly filter: EventFilter;
  readonly limit: number;
  /** Events looked at before the page comes back short; default 20 000. */
  readonly maxScanned?: number;
}

/** A page. `next` is the position at which the next page begins (descending: before which); absent at the end. */
export interface EventPage {
  readonly events: StoredEvent[];
  readonly next?: number;
}

const maxPageBytes = 4 * 1024 * 1024;
const defaultMaxScanned = 20_000;

/** The first page of a query. */
export async function selectPage(
  store: EventStore,
  hot: HotSession,
  query: PageQuery,
  signal: AbortSignal,
): Promise<EventPage> {
  const events: StoredEvent[] = [];
  const { descending, filter, limit } = query;
  let [scanned, bytes] = [0, 0];
  for await (const chunk of readEvents(store, hot, { ...query, hint: Math.min(limit, query.to - query.from) })) {
    signal.throwIfAborted();
    for (const event of chunk) {
      const { position } = event;
      const here = descending ? position + 1 : position;
      if (scanned >= (query.maxScanned ?? defaultMaxScanned)) return { events, next: here };
      scanned += 1;
      if (!lets(filter, event)) continue;
      if (events.length >= limit) return { events, next: here };
      bytes += event.bytes.length;
      if (bytes > maxPageBytes && events.length > 0) return { events, next: here };
      events.push(event);
    }
  }
  return { events };
}
