/** Decisions with an effect: those a log holds, and the one that a harness makes in a given state. */
import {
  type Action,
  type EventDraft,
  evolve,
  isUnknownEvent,
  type Limits,
  type ModelCallAction,
  type SessionEvent,
  type State,
  type UnknownEvent,
  type View,
} from "@manyhands/core";
import type { Harness } from "../harness-kinds.ts";

/** What was decided. */
export type Decision =
  | { readonly type: "model" | "summary"; readonly model: string; readonly action?: ModelCallAction }
  | { readonly type: "tools"; readonly ids: readonly string[] }
  | { readonly type: "idle"; readonly reason: string }
  | { readonly type: "nothing"; readonly why: string };

/** A decision that the log holds. */
export interface RecordedDecision {
  readonly decision: Decision;
  /** Index of its first event in the log. */
  readonly index: number;
  /** For a model request: what it was shown, and the event's id. */
  readonly request?: { readonly id: string; readonly contextPosition: number };
}

type LoggedEvent = SessionEvent | UnknownEvent;

/** The decisions of a log, in order. */
export function recordedDecisions(events: readonly LoggedEvent[]): RecordedDecision[] {
  const found: RecordedDecision[] = [];
  events.forEach((event, index) => {
    if (isUnknownEvent(event)) return;
    if (event.type === "span.model_request_start") {
      const { id, model, purpose, context_position: contextPosition } = event;
      const type = purpose === undefined ? "model" : "summary";
      found.push({ index, decision: { type, model }, request: { id, contextPosition } });
    } else if (event.type === "session.status_idle") {
      found.push({ index, decision: { type: "idle", reason: event.stop_reason.type } });
    } else if (event.type === "operation.dispatched") {
      const last = found.at(-1);
      const isSame = last?.decision.type === "tools" && last.index + last.decision.ids.length === index;
      if (isSame && last.decision.type === "tools") {
        const ids = [...last.decision.ids, event.operation_id];
        found[found.length - 1] = { index: last.index, decision: { type: "tools", ids } };
      } else found.push({ index, decision: { type: "tools", ids: [event.operation_id] } });
    }
  });
  return found;
}

const maxSteps = 50;

/** What a harness decides in a state; steps without an effect are taken on the way, as drafts. */
export function decisionOf(
  harness: Harness,
  start: State,
  options: { readonly now: number; readonly limits: Limits; readonly epoch: number },
): Decision {
  let state = start;
  const inFlight = new Set<string>();
  for (let step = 0; step < maxSteps; step += 1) {
    const view: View = { ...options, state, now: Math.max(options.now, retryAt(state)), inFlight };
    const action = harness.next(view);
    const decision = effectOf(action, state);
    if (decision !== undefined) return decision;
    if (action.type === "append") state = applied(state, action.events, options);
    else if (action.type === "operate") for (const call of [...action.start, ...action.follow]) inFlight.add(call.id);
  }
  return { type: "nothing", why: `it decides ${maxSteps} times without an effect` };
}

function effectOf(action: Action, state: State): Decision | undefined {
  switch (action.type) {
    case "callModel": {
      const model = action.model ?? ("agent" in state ? state.agent.model : "");
      return { type: action.purpose === undefined ? "model" : "summary", model, action };
    }
    case "provision":
      return { type: "tools", ids: action.calls.map((call) => call.id) };
    case "append":
      return appended(action.events);
    case "operate":
      return undefined;
    case "cancel":
      return { type: "nothing", why: "it stops what runs" };
    case "wait":
      return { type: "nothing", why: "it waits" };
    case "rest":
      return { type: "nothing", why: "it rests" };
    default: {
      const never: never = action;
      return never;
    }
  }
}

function appended(events: readonly EventDraft[]): Decision | undefined {
  const ids = events.flatMap((event) => (event.type === "operation.dispatched" ? [event.operation_id] : []));
  if (ids.length > 0) return { type: "tools", ids };
  const idle = events.find((event) => event.type === "session.status_idle");
  return idle === undefined ? undefined : { type: "idle", reason: idle.stop_reason.type };
}

function applied(
  state: State,
  drafts: readonly EventDraft[],
  { now, epoch }: { readonly now: number; readonly epoch: number },
): State {
  let next = state;
  for (const draft of drafts) {
    // A draft is the event but for its envelope; TypeScript does not follow that over the union of all types.
    next = evolve(next, { ...draft, id: `sevt_try_${next.head}`, position: next.head, at: now, epoch } as SessionEvent);
  }
  return next;
}

function retryAt(state: State): number {
  return state.phase === "asking" ? state.retryAtMs : 0;
}
