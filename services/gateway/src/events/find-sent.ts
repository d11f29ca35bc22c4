/**
 * Finds what an earlier try of a send wrote. For a retry whose first try this replica does not know: it went to
 * another replica, or this one was restarted in between. The log is the only memory they share.
 */
import type { NewEvent } from "@manyhands/core";
import { decodeEvent, type Event } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { Place } from "./read-reference.ts";

const LOOK_BACK_EVENTS = 256;
const LOOK_BACK_MS = 30_000;

/**
 * The stored events with the same contents, consecutive and in the same order, accepted in the last 30 seconds;
 * undefined when the last 256 events do not have them. The newest match wins. Clients retry within 8 seconds; a longer
 * look back could take an older, equal message for the first try of one that never arrived.
 */
export async function findSent(
  sessions: Pick<Deps["sessions"], "getEvents">,
  { workspaceId, sessionId, rpc }: Place,
  made: readonly NewEvent[],
  nowMs: number = Date.now(),
): Promise<readonly Event[] | undefined> {
  const slice = { case: "last" as const, value: LOOK_BACK_EVENTS };
  const { events } = await sessions.getEvents({ workspaceId, sessionId, slice, includePlatform: true }, rpc);
  const wanted = made.map(contentOf);
  const stored = events.map((event) => ({ event, core: decodeEvent(event) }));
  for (let start = stored.length - made.length; start >= 0; start -= 1) {
    const run = stored.slice(start, start + made.length);
    const fresh = run.every(({ core }) => nowMs - core.at < LOOK_BACK_MS);
    if (fresh && run.every(({ core }, index) => contentOf(core) === wanted[index]))
      return run.map(({ event }) => event);
  }
  return undefined;
}

/** What the client sent of an event: everything but what the server added. Keys sorted, since order means nothing. */
function contentOf(event: object): string {
  const added = new Set(["id", "position", "at", "epoch", "session_thread_id"]);
  return JSON.stringify(sorted(Object.fromEntries(Object.entries(event).filter(([key]) => !added.has(key)))));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}
