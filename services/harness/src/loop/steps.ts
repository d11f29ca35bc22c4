/** Small judgements of steps and states that the runner makes. */
import { type Action, closedRequest, type EventDraft, isUnknownEvent, type State } from "@manyhands/core";
import type { StoredEvent } from "./session-log.ts";

/** The event that closes a dead brain's request, if there is one. */
export function closing(startId: string | undefined): EventDraft[] {
  return startId === undefined ? [] : [closedRequest(startId)];
}

/**
 * True where a session may be handed back instead of going on: before what changes the world or waits for it. An interrupt
 * is carried through first, since the user waits for it; that takes less than a second.
 */
export function isBoundary(action: Action): boolean {
  return action.type !== "append" && action.type !== "rest" && action.type !== "cancel";
}

const sayNothing: ReadonlySet<string> = new Set([
  "brain.woken",
  "brain.released",
  "session.status_running",
  "span.model_request_start",
  "context.checkpointed",
  "user.message", // stays in the inbox, and is answered next
]);

/**
 * True when nothing stands in the log from a position on that a request which was shown the log below it would have to
 * show too: its answer is about the same conversation. Another brain's answer, or a result, makes it another one.
 */
export function isSameConversation(log: readonly StoredEvent[], from: number): boolean {
  return log.every((event) => {
    if (event.position < from) return true;
    if (isUnknownEvent(event)) return false;
    return sayNothing.has(event.type) || (event.type === "span.model_request_end" && event.is_error);
  });
}

/** True for a session that another kind of harness drives. */
export function isOtherKind(state: State, kind: string): boolean {
  return state.phase !== "unborn" && state.phase !== "closed" && state.harnessKind !== kind;
}
