/** Small judgements of steps and states that the runner makes. */
import { type Action, closedRequest, type EventDraft, type State } from "@manyhands/core";

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

/** True for a session that another kind of harness drives. */
export function isOtherKind(state: State, kind: string): boolean {
  return state.phase !== "unborn" && state.phase !== "closed" && state.harnessKind !== kind;
}
