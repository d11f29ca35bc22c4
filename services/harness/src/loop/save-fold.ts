import { checkpointDraft, type State } from "@manyhands/core";
import { type IdSource, toAppError } from "@manyhands/kit";
import type { SessionLog, StoredEvent } from "./session-log.ts";

/**
 * Saves the fold of a session in its log, so that the next brain reads only what comes after. Never the truth: when the
 * head has moved, when the state is too large or nothing can be stored now, the session goes on without it. Answers what
 * was stored.
 */
export async function saveFold(
  { log, newId }: { readonly log: Pick<SessionLog, "append">; readonly newId: IdSource },
  { sessionId, state, epoch }: { readonly sessionId: string; readonly state: State; readonly epoch: number },
): Promise<StoredEvent[] | "fenced"> {
  const draft = state.phase === "unborn" || state.phase === "closed" ? undefined : checkpointDraft(state);
  if (draft === undefined) return [];
  const events = [{ ...draft, id: newId("sevt") }];
  try {
    return await log.append({ sessionId, events, expectedPosition: state.head, epoch });
  } catch (error) {
    return toAppError(error).kind === "fenced" ? "fenced" : [];
  }
}
