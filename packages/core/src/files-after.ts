/** Which operations left a session's files as they are: what a fork, whose hand is new, asks its files by. */
import type { LivingState } from "./state.ts";

/** Kept of one session; a hand names its files at least each 64 operations. */
const maxOperations = 100;

/** A new hand: its files are those it begins with. */
export function filesOfNewHand(state: LivingState, handId: string): LivingState {
  return { ...state, filesAfter: [`start_${handId}`] };
}

/** An operation of a hand was answered; what was never sent to the session's own changed no file of it. */
export function filesAfterOperation(state: LivingState, before: LivingState, operationId: string): LivingState {
  if (before.phase === "resting" || state === before) return state;
  const progress = before.calls.find(({ id }) => id === operationId)?.progress;
  if (progress?.at !== "dispatched" || progress.handId === "" || progress.grantId !== undefined) return state;
  const known = before.filesAfter ?? [];
  const start = known.filter((id) => id.startsWith("start_"));
  const operations = known.filter((id) => !id.startsWith("start_")).slice(0, maxOperations - 1);
  return { ...state, filesAfter: [operationId, ...operations, ...start] };
}
