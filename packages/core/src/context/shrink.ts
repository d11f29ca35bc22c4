/**
 * What to do about a conversation that has grown too long, before the next model request. Decided from the state alone;
 * the log is only ever added to.
 */
import type { Action } from "../actions.ts";
import type { LivingState } from "../state.ts";

/** Shortenings in a row after which the turn is given up. */
export const maxCompactions = 4;

/** The turn cannot go on: the conversation does not fit and cannot be made to. */
export interface CannotShrink {
  readonly type: "cannotShrink";
  readonly message: string;
}

/** The step that shortens the context; undefined when none is due. */
export function shrink(state: LivingState): Action | CannotShrink | undefined {
  const { context } = state.agent;
  const { overflows, compactions, cutPoints } = state.window;
  if (overflows === 0) {
    const to = dueSummary(state);
    return to === undefined ? undefined : summarise(state, to);
  }
  if (context.type === "full") {
    return cannot("The conversation no longer fits the model's context, and its context strategy is `full`.");
  }
  if (compactions >= maxCompactions || overflows > maxCompactions) {
    return cannot(
      `The conversation still does not fit the model's context after ${maxCompactions} tries to shorten it.`,
    );
  }
  // Nothing stands before the first cut point but the task itself, so cutting there would leave nothing out.
  const to = cutPoints[Math.max(1, Math.floor(cutPoints.length / 2 ** overflows))];
  if (to === undefined) return leaveOut(state.head);
  return context.type === "compaction" ? summarise(state, to) : leaveOut(to);
}

/** Where to summarise up to, once the context is over its bound and there is enough of it to be worth a request. */
function dueSummary({ agent: { context }, window }: LivingState): number | undefined {
  if (context.type !== "compaction" || context.trigger_tokens === 0) return undefined;
  const { keep_requests: keep } = context;
  const isLong = window.tokens > context.trigger_tokens && window.compactions === 0;
  return isLong && window.cutPoints.length > keep + Math.floor(keep / 2) ? window.cutPoints.at(-keep) : undefined;
}

function summarise(state: LivingState, to: number): Action {
  const failures = state.phase === "asking" ? state.failures : 0;
  const closes = state.phase === "asking" ? state.request?.id : undefined;
  return {
    type: "callModel",
    contextPosition: to,
    attempt: failures + 1,
    purpose: "compaction",
    ...(closes === undefined ? {} : { closes }),
  };
}

function leaveOut(to: number): Action {
  return {
    type: "append",
    events: [{ type: "agent.thread_context_compacted", from_position: 0, to_position: to, summary: "" }],
  };
}

function cannot(message: string): CannotShrink {
  return { type: "cannotShrink", message: `${message} The log is whole; choose another strategy to go on.` };
}
