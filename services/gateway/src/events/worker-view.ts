/**
 * A session's events as its worker sees them. The official worker takes only `user.tool_result` for an answer and runs
 * a call again that was closed by `agent.tool_result` alone, as the platform closes what the user interrupted.
 */
import type { ShownEvent } from "./public-event.ts";

/** The event for a worker. */
export function forWorker(event: ShownEvent): ShownEvent {
  return event.type === "agent.tool_result" ? { ...event, type: "user.tool_result" } : event;
}
