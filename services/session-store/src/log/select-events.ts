/** Which events a reader wants, and one page of them. Scanning is bounded: a page may come back short with a cursor. */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { isPlatformEvent } from "@manyhands/core";
import type { Event } from "@manyhands/protocol";
import type { EventStore } from "../store/event-store.ts";
import { readEvents } from "./event-reader.ts";
import type { HotSession } from "./hot-session.ts";

/** What lets an event through. */
export interface EventFilter {
  /** Empty means all types. */
  readonly types: readonly string[];
  readonly includePlatform: boolean;
  readonly fromMs?: number;
  readonly beforeMs?: number;
}

/** True when the filter lets the event through. A type that is asked for by name is not hidden. */
export function lets(filter: EventFilter, event: Event): boolean {
  if (
    filter.types.length > 0
      ? !filter.types.includes(event.type)
      : !filter.includePlatform && isPlatformEvent(event.type)
  ) {
    return false;
  }
  const at = event.createdAt === undefined ? 0 : timestampMs(event.createdAt);
  return at >= (filter.fromMs ?? 0) && at < (filter.beforeMs ?? Number.POSITIVE_INFINITY);
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
  readonly events: Event[];
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
  const events: Event[] = [];
  const { descending, filter, limit } = query;
  let [scanned, bytes] = [0, 0];
  for await (const chunk of readEvents(store, hot, { ...query, hint: Math.min(limit, query.to - query.from) })) {
    signal.throwIfAborted();
    for (const event of chunk) {
      const position = Number(event.position);
      const here = descending ? position + 1 : position;
      if (scanned >= (query.maxScanned ?? defaultMaxScanned)) return { events, next: here };
      scanned += 1;
      if (!lets(filter, event)) continue;
      if (events.length >= limit) return { events, next: here };
      bytes += roughBytes(event);
      if (bytes > maxPageBytes && events.length > 0) return { events, next: here };
      events.push(event);
    }
  }
  return { events };
}

/** Near enough to keep a page under the largest message; exact encoding would cost a second pass. */
function roughBytes(event: Event): number {
  return 256 + sizeOf(event.payload.value, 0);
}

/** Walks with plain loops: this runs for every event of every page, and took a fifth of a small one's time otherwise. */
function sizeOf(value: unknown, depth: number): number {
  if (typeof value === "string") return value.length * 2;
  if (typeof value !== "object" || value === null || depth > 8) return 8;
  if (value instanceof Uint8Array) return value.length;
  let sum = 0;
  if (Array.isArray(value)) {
    for (const item of value) sum += sizeOf(item, depth + 1);
    return sum;
  }
  for (const key in value) sum += sizeOf(Reflect.get(value, key), depth + 1);
  return sum;
}
