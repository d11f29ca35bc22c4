/**
 * The fold: events → state. Total and deterministic (H1) — every event in every state gives a state, unknown events and
 * events that make no sense where they stand only move the head. One case per event type that matters to `decide`.
 */
import { parseAgent, withSettings } from "./agent-config.ts";
import { born, forked, provisioned, reborn, withoutHand } from "./beginning.ts";
import { parseBudget } from "./budget.ts";
import { allowed, callOf } from "./call-of.ts";
import { compacted, overflowed, requestEnded } from "./context/window-state.ts";
import { type EventOf, isUnknownEvent, type SessionEvent, type UnknownEvent } from "./events.ts";
import { filesAfterOperation } from "./files-after.ts";
import { withGranted } from "./granted-hands.ts";
import { withMemoryWords } from "./memory-words.ts";
import { needsBrain } from "./needs-brain.ts";
import { changedResources, changesMounts } from "./resources.ts";
import { changedSettings } from "./settings.ts";
import {
  type Acting,
  type Asking,
  type Call,
  type CallProgress,
  emptyState,
  type LastStop,
  type LivingState,
  type State,
} from "./state.ts";
import { addUsage, addUsageOf } from "./usage.ts";

/** The state after one more event. */
export function evolve(state: State, event: SessionEvent | UnknownEvent): State {
  const head = event.position + 1;
  if (isUnknownEvent(event)) return { ...state, head };
  if (state.phase === "closed")
    return event.type === "session.forked" ? reborn(state.epoch, event) : { ...state, head };
  if (state.phase === "unborn") return event.type === "session.created" ? born(event) : { ...state, head };
  if (isClosing(event.type)) return { phase: "closed", head, epoch: state.epoch };
  const woken = needsBrain(event.type) ? becomeRunning(state, event.at) : state;
  return apply(withGranted({ ...woken, head }, event), event);
}

/** The state of a log, or of a log that goes on from `from`. */
export function fold(events: Iterable<SessionEvent | UnknownEvent>, from: State = emptyState): State {
  let state = from;
  for (const event of events) state = evolve(state, event);
  return state;
}

function apply(state: LivingState, event: SessionEvent): LivingState {
  switch (event.type) {
    case "user.message":
    case "user.define_outcome":
    case "system.message":
      return { ...state, inbox: [...state.inbox, event.position] };
    case "user.interrupt":
      return interrupt(state);
    case "user.tool_confirmation":
      return confirm(state, event);
    case "user.custom_tool_result":
      return answer(state, event.custom_tool_use_id, "client");
    case "user.tool_result":
      return answer(state, event.tool_use_id, "worker");
    case "agent.tool_use":
    case "agent.mcp_tool_use":
    case "agent.custom_tool_use":
      return addCall(state, callOf(state, event));
    case "agent.tool_result":
      return filesAfterOperation(answer(state, event.tool_use_id), state, event.tool_use_id);
    case "agent.mcp_tool_result":
      return answer(state, event.mcp_tool_use_id);
    case "span.model_request_start":
      return startRequest(state, event);
    case "span.model_request_end":
      return endRequest(state, event);
    case "operation.dispatched":
      return dispatch(state, event);
    case "hand.provisioned":
      return provisioned(state, event);
    case "hand.lost":
    case "hand.released":
      return state.hand?.id === event.hand_id ? withoutHand(state) : state;
    case "brain.woken":
      return { ...state, epoch: Math.max(state.epoch, event.epoch), wakes: state.wakes + 1 };
    case "brain.released":
      return { ...state, wakes: Math.max(0, state.wakes - 1) }; // it was handed back, the session did not end its brain
    case "session.status_running":
      return { ...becomeRunning(state, event.at), status: "running", saidRunning: true, announced: [] };
    case "session.status_rescheduled":
      return reschedule(state, event);
    case "session.status_idle":
      return becomeIdle(state, event);
    case "session.error":
      return state.phase === "asking" && event.error.retry_status.type !== "retrying"
        ? { ...state, exhausted: true }
        : state;
    case "session.updated":
      return update(state, event);
    case "agent.thread_context_compacted":
      return { ...state, window: compacted(state.window, event.to_position) };
    case "session.forked":
      return forked(state, event);
    case "session.harness_changed":
      return { ...state, harnessKind: event.to_kind };
    default:
      return state; // facts that decide does not need
  }
}

function isClosing(type: string): boolean {
  return type === "session.archived" || type === "session.deleted" || type === "session.status_terminated";
}

function becomeRunning(state: LivingState, at: number): LivingState {
  return state.status === "idle" ? { ...state, status: "running", runningSince: at } : state;
}

/** Between turns, what was asked before the interrupt is the turn it ends; otherwise queued input stays queued. */
function interrupt(state: LivingState): LivingState {
  return { ...state, interrupted: true, inbox: state.phase === "resting" ? [] : state.inbox };
}

function update(state: LivingState, event: EventOf<"session.updated">): LivingState {
  const settings = changedSettings(state.settings, event.metadata);
  const agent = event.agent === undefined ? state.agent : withMemoryWords(parseAgent(event.agent), state.resources);
  const { budget: before, ...rest } = state;
  const budget = event.budget === undefined ? before : parseBudget(event.budget);
  const resources = changedResources(state.resources, event);
  return {
    ...rest,
    ...(budget === undefined ? {} : { budget }),
    settings,
    agent: withSettings(agent, settings),
    resources,
    ...(state.hand && changesMounts(state.resources, resources) ? { hand: { ...state.hand, isStale: true } } : {}),
  };
}

function confirm(state: LivingState, event: EventOf<"user.tool_confirmation">): LivingState {
  const call = state.phase === "resting" ? undefined : state.calls.find(({ id }) => id === event.tool_use_id);
  return setProgress(state, event.tool_use_id, (progress) => {
    if (call === undefined || progress.at !== "waiting" || progress.for !== "confirmation") return progress;
    if (event.result === "allow") return allowed(state, call);
    return { at: "denied", ...(event.deny_message === undefined ? {} : { message: event.deny_message }) };
  });
}

function addCall(state: LivingState, call: Call): LivingState {
  const counted = { ...state, toolCalls: state.toolCalls + 1 };
  if (counted.phase === "resting") return acting(counted, [call]);
  return { ...counted, calls: [...counted.calls, call] };
}

function answer(state: LivingState, id: string, only?: "client" | "worker"): LivingState {
  const answered = setProgress(state, id, (progress) => {
    const isOpen = only === undefined ? progress.at !== "answered" : progress.at === "waiting" && progress.for === only;
    return isOpen ? { at: "answered" } : progress;
  });
  if (answered === state) return state;
  const moved = { ...answered, wakes: 0 };
  if (moved.phase !== "acting" || moved.calls.some((call) => call.progress.at !== "answered")) return moved;
  return asking(moved);
}

function startRequest(state: LivingState, event: EventOf<"span.model_request_start">): LivingState {
  const { id, epoch, model, context_position: contextPosition, purpose } = event;
  const request = { id, epoch, model, contextPosition, ...(purpose === undefined ? {} : { purpose }) };
  // A summary is made of what lies behind; it answers no one.
  const isSummary = purpose !== undefined;
  const inbox = isSummary ? state.inbox : state.inbox.filter((position) => position >= contextPosition);
  if (state.phase === "acting") return state; // a request cannot start while tool uses are open
  const base = state.phase === "asking" ? state : asking(state);
  return { ...base, inbox, request, retryAtMs: 0, calls: [] };
}

function endRequest(state: LivingState, event: EventOf<"span.model_request_end">): LivingState {
  const counted = { ...state, usage: addUsage(state.usage, event.model_usage) };
  if (counted.phase !== "asking" || counted.request?.id !== event.model_request_start_id) return counted;
  const { request, ...open } = counted;
  const usageByModel = addUsageOf(open.usageByModel, request.model, event.model_usage);
  if (request.purpose !== undefined) {
    const progress = event.is_error ? {} : { failures: 0, wakes: 0 };
    return { ...open, ...progress, usageByModel, window: overflowed(open.window, event) };
  }
  const rest = { ...open, usageByModel, window: requestEnded(open.window, event, request.contextPosition) };
  if (rest.calls.length > 0) return acting({ ...rest, iterations: rest.iterations + 1, wakes: 0 }, rest.calls);
  if (event.is_error) return rest;
  const done = { ...rest, iterations: rest.iterations + 1, wakes: 0 };
  return event.stop_reason === "pause_turn" ? asking(done) : resting(done, lastStopOf(event.stop_reason));
}

function lastStopOf(reason: string): LastStop {
  return reason === "refusal" || reason === "max_tokens" ? reason : "end_turn";
}

function dispatch(state: LivingState, event: EventOf<"operation.dispatched">): LivingState {
  return setProgress(state, event.operation_id, (progress) =>
    progress.at === "answered"
      ? progress
      : {
          at: "dispatched",
          handId: event.hand_id,
          epoch: event.epoch,
          attempt: event.attempt,
          ...(event.grant_id === undefined ? {} : { grantId: event.grant_id }),
        },
  );
}

function reschedule(state: LivingState, event: EventOf<"session.status_rescheduled">): LivingState {
  const moved = { ...state, status: "rescheduling" as const, saidRunning: false };
  if (moved.phase !== "asking") return moved;
  return { ...moved, failures: event.attempt, retryAtMs: event.at + event.retry_after_ms };
}

function becomeIdle(state: LivingState, event: EventOf<"session.status_idle">): LivingState {
  const ran = state.status === "idle" ? 0 : Math.max(0, event.at - state.runningSince);
  const idle = {
    ...state,
    status: "idle" as const,
    saidRunning: false,
    interrupted: false,
    announced: event.stop_reason.event_ids ?? [],
    activeMs: state.activeMs + ran,
    wakes: 0,
  };
  // Neither is over: the client's answers, or a raised budget, let the same turn go on.
  if (event.stop_reason.type === "requires_action" || event.stop_reason.type === "budget_reached") return idle;
  const flushed = event.stop_reason.type === "retries_exhausted" ? [] : idle.inbox;
  return resting({ ...idle, inbox: flushed, iterations: 0, toolCalls: 0 }, "");
}

function setProgress(state: LivingState, id: string, change: (progress: CallProgress) => CallProgress): LivingState {
  if (state.phase === "resting") return state;
  const call = state.calls.find((candidate) => candidate.id === id);
  if (call === undefined) return state;
  const progress = change(call.progress);
  if (progress === call.progress) return state;
  return { ...state, calls: state.calls.map((other) => (other === call ? { ...call, progress } : other)) };
}

function resting(state: LivingState, lastStop: LastStop): LivingState {
  return { ...living(state), phase: "resting", lastStop };
}

function asking(state: LivingState): Asking {
  return { ...living(state), phase: "asking", failures: 0, retryAtMs: 0, exhausted: false, calls: [] };
}

function acting(state: LivingState, calls: readonly Call[]): Acting {
  return { ...living(state), phase: "acting", calls };
}

/** What all phases share; drops what only the present one has. */
function living(state: LivingState) {
  switch (state.phase) {
    case "resting": {
      const { phase: _, lastStop: __, ...shared } = state;
      return shared;
    }
    case "asking": {
      const {
        phase: _,
        request: __,
        failures: ___,
        retryAtMs: ____,
        exhausted: _____,
        calls: ______,
        ...shared
      } = state;
      return shared;
    }
    case "acting": {
      const { phase: _, calls: __, ...shared } = state;
      return shared;
    }
    default: {
      const never: never = state;
      return never;
    }
  }
}
