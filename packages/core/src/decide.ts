/**
 * The ladder: state → next action. Read top to bottom, the first rung that applies wins.
 *
 * H1 `decide` and `evolve` are total and deterministic: same events, time, limits and tasks in flight give the same
 *    action; they never throw on a stored event.
 * H2 A side effect happens only after its intent is stored (`operation.dispatched` before Execute); its id is that of
 *    the tool use that asked for it, so that a repeat carries the same id. A model request has no side effect: its
 *    start may be stored while it is on its way, its answer counts only once stored.
 * H3 Every append states the position and epoch it expects; a conflict means "read on, fold and decide again".
 * H4 After a crash an operation without a result is followed under the same id, never sent blindly. Taking the session
 *    is an event (`brain.woken`), so that takings are counted and bounded.
 * H5 Only the runner awaits; at most `parallelTools` operations are in flight; every wait ends by event, time or
 *    shutdown.
 * H6 Limits are data passed in.
 */
import type { Action, EventDraft } from "./actions.ts";
import { budgetState } from "./budget.ts";
import { shrink } from "./context/shrink.ts";
import type { StopReason } from "./events.ts";
import type { Limits } from "./limits.ts";
import { abandonedDraft, deniedDraft, forkedWhileRunning, interruptedBeforeRun, resultDraft } from "./recovery.ts";
import type { Acting, Asking, Call, LivingState, State } from "./state.ts";
import { isServerTool } from "./tool-definitions.ts";

/** Everything a decision depends on. */
export interface View {
  readonly state: State;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly limits: Limits;
  /** The epoch this brain holds, or will hold once it has taken the session. */
  readonly epoch: number;
  /** What this brain is busy with: `model`, `provision` and operation ids. */
  readonly inFlight: ReadonlySet<string>;
}

/** The default harness's decision. */
export function decide(view: View): Action {
  const { state } = view;
  if (state.phase === "unborn" || state.phase === "closed") return { type: "rest" };
  const action = ladder(view, state);
  return isWork(action) && !state.saidRunning ? append({ type: "session.status_running" }) : action;
}

function ladder(view: View, state: LivingState): Action {
  if (state.interrupted) return stopTurn(view, state);
  if (isPoisoned(view, state)) return giveUp(view, state, "unknown_error", poisonedMessage(state));
  switch (state.phase) {
    case "acting":
      return act(view, state);
    case "asking":
      return ask(view, state);
    case "resting":
      if (state.inbox.length > 0) return request(view, state, 1);
      if (state.status !== "idle") return idle(view, state, { type: endOf(state.lastStop) });
      return { type: "rest" };
    default: {
      const never: never = state;
      return never;
    }
  }
}

/** Tool uses first: every one gets exactly one result before the next model request. */
function act(view: View, state: Acting): Action {
  const left = state.calls.filter((call) => call.progress.at === "leftBehind");
  if (left.length > 0) return append(...left.map((call) => abandonedDraft(call, forkedWhileRunning)));
  const refused = state.calls.filter((call) => isRefused(call));
  if (refused.length > 0) return append(...refused.map(deniedDraft));
  const beyond = state.calls.filter((call) => isOpen(call) && isBeyondLimit(call, view.limits));
  if (beyond.length > 0) return append(...beyond.map((call) => beyondLimitDraft(call, view.limits)));
  const ready = state.calls.filter(isReady).slice(0, freeSlots(view, state));
  const outside = ready.filter((call) => !needsHand(call));
  if (outside.length > 0) return dispatch(outside, "");
  if (ready.length > 0 && state.hand && !state.hand.isStale) return dispatch(ready, state.hand.id);
  if (ready.length > 0 && !view.inFlight.has("provision")) return { type: "provision", calls: ready };
  const idleOperations = state.calls.filter((call) => isDispatched(call) && !view.inFlight.has(call.id));
  if (idleOperations.length > 0) return operate(view, idleOperations);
  if (state.calls.some(isDispatched) || ready.length > 0) return { type: "wait" };
  return awaitClient(view, state);
}

function ask(view: View, state: Asking): Action {
  const left = state.calls.filter(isOpen);
  if (left.length > 0) return append(...left.map(leftOver)); // only in a damaged log, or in a fork that cuts a response
  if (state.exhausted) return idle(view, state, { type: "retries_exhausted" });
  if (state.request !== undefined && state.request.epoch === view.epoch && view.inFlight.has("model")) {
    return { type: "wait" };
  }
  if (state.retryAtMs > view.now) return { type: "wait", untilMs: state.retryAtMs };
  if (state.iterations >= view.limits.iterationsPerTurn) {
    const message = `The turn reached its limit of ${view.limits.iterationsPerTurn} model requests.`;
    return giveUp(view, state, "tool_use_limit_reached_error", message);
  }
  if (state.toolCalls > view.limits.toolCallsPerTurn) {
    const message = `The turn reached its limit of ${view.limits.toolCallsPerTurn} tool uses.`;
    return giveUp(view, state, "tool_use_limit_reached_error", message);
  }
  if (view.now - state.runningSince > view.limits.turnMs) {
    const message = `The turn reached its limit of ${view.limits.turnMs / 1_000} seconds.`;
    return giveUp(view, state, "tool_use_limit_reached_error", message);
  }
  return request(view, state, state.failures + 1, state.request?.id);
}

/** A model request, unless the budget forbids it or the context has to be shortened first. */
function request(view: View, state: LivingState, attempt: number, closes?: string): Action {
  const budget = budgetState(state.budget, state.usageByModel, state.agent.model, view.limits.prices);
  if (budget.type === "unpriced") {
    const message = `No list price is configured for ${budget.model}, so the session's cost budget cannot be held.`;
    return giveUp(view, state, "billing_error", message);
  }
  if (budget.type === "reached") return stopAtBudget(view, state, closes);
  const shorter = shrink(state);
  if (shorter?.type === "cannotShrink") return giveUp(view, state, "compaction_limit_reached_error", shorter.message);
  return shorter ?? callModel(state, attempt, closes);
}

/** Nothing more is asked; the turn stands where it is until the budget is raised, or an interrupt ends it. */
function stopAtBudget(view: View, state: LivingState, closes: string | undefined): Action {
  if (state.status === "idle") return { type: "rest" };
  return append(
    ...(closes === undefined ? [] : [closedRequest(closes)]),
    ...idleDrafts(view, state, { type: "budget_reached" }),
  );
}

/** The user interrupted: stop what runs, answer what is open, end the turn. */
function stopTurn(view: View, state: LivingState): Action {
  const calls = state.phase === "resting" ? [] : state.calls;
  const running = calls.filter(isDispatched);
  if (running.length > 0) return { type: "cancel", calls: running };
  const close = state.phase === "asking" ? state.request : undefined;
  return append(
    ...(close === undefined ? [] : [closedRequest(close.id)]),
    ...calls.filter(isOpen).map((call) => abandonedDraft(call, interruptedBeforeRun)),
    ...idleDrafts(view, state, { type: "end_turn" }),
  );
}

/** The turn cannot go on: answer what is open, say why, end it. Queued input is not started by itself. */
function giveUp(view: View, state: LivingState, type: string, message: string): Action {
  const calls = state.phase === "resting" ? [] : state.calls;
  const close = state.phase === "asking" ? state.request : undefined;
  return append(
    ...(close === undefined ? [] : [closedRequest(close.id)]),
    ...calls.filter(isOpen).map((call) => abandonedDraft(call, message)),
    { type: "session.error", error: { type, message, retry_status: { type: "exhausted" } } },
    ...idleDrafts(view, state, { type: "retries_exhausted" }),
  );
}

/** Everything left waits for the client: say so once, then let go; waiting costs nothing. */
function awaitClient(view: View, state: Acting): Action {
  const ids = state.calls.filter((call) => call.progress.at === "waiting").map((call) => call.id);
  const isSaid = state.status === "idle" && sameIds(ids, state.announced);
  return isSaid ? { type: "rest" } : idle(view, state, { type: "requires_action", event_ids: ids });
}

function callModel(state: LivingState, attempt: number, closes?: string): Action {
  return { type: "callModel", contextPosition: state.head, attempt, ...(closes === undefined ? {} : { closes }) };
}

function dispatch(calls: readonly Call[], handId: string): Action {
  return append(
    ...calls.map((call) => ({
      type: "operation.dispatched" as const,
      operation_id: call.id,
      hand_id: handId,
      attempt: 1,
    })),
  );
}

function operate(view: View, calls: readonly Call[]): Action {
  const isMine = (call: Call) => call.progress.at === "dispatched" && call.progress.epoch === view.epoch;
  return { type: "operate", start: calls.filter(isMine), follow: calls.filter((call) => !isMine(call)) };
}

function idle(view: View, state: LivingState, reason: StopReason): Action {
  return append(...idleDrafts(view, state, reason));
}

function idleDrafts(view: View, state: LivingState, reason: StopReason): EventDraft[] {
  const runningMs = state.status === "idle" ? 0 : Math.max(0, view.now - state.runningSince);
  return [
    { type: "session.usage", usage: state.usage, active_seconds: (state.activeMs + runningMs) / 1000 },
    { type: "session.status_idle", stop_reason: reason },
  ];
}

/** The end of a model request that no answer will come for. */
export function closedRequest(startId: string, stopReason = ""): EventDraft<"span.model_request_end"> {
  return {
    type: "span.model_request_end",
    model_request_start_id: startId,
    is_error: true,
    model_usage: { input_tokens: 0, output_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
    stop_reason: stopReason,
    time_to_first_token_ms: 0,
  };
}

function append(...events: EventDraft[]): Action {
  return { type: "append", events };
}

/** Only steps towards the model or a tool need a session that says it is running. */
function isWork(action: Action): boolean {
  if (action.type === "append") return action.events.some((event) => event.type === "operation.dispatched");
  return action.type === "callModel" || action.type === "provision" || action.type === "operate";
}

function isPoisoned(view: View, state: LivingState): boolean {
  return state.wakes > view.limits.wakesWithoutProgress && state.status !== "idle";
}

function poisonedMessage(state: LivingState): string {
  return `The session was taken up ${state.wakes} times in a row and nothing came of it.`;
}

function endOf(lastStop: string): StopReason["type"] {
  return lastStop === "refusal" ? "refusal" : "end_turn";
}

function isOpen(call: Call): boolean {
  return call.progress.at !== "answered";
}

function isReady(call: Call): boolean {
  return call.progress.at === "ready";
}

/** Tools that the platform runs itself need no hand. */
function needsHand(call: Call): boolean {
  return call.kind === "agent" && !isServerTool(call.name);
}

function isRefused(call: Call): boolean {
  return call.progress.at === "denied";
}

function isDispatched(call: Call): boolean {
  return call.progress.at === "dispatched";
}

function isBeyondLimit(call: Call, limits: Limits): boolean {
  return call.ordinal > limits.toolCallsPerTurn && !isDispatched(call);
}

function freeSlots(view: View, state: Acting): number {
  return Math.max(0, view.limits.parallelTools - state.calls.filter(isDispatched).length);
}

function beyondLimitDraft(call: Call, limits: Limits): EventDraft {
  return abandonedDraft(call, `Not run: a turn may have at most ${limits.toolCallsPerTurn} tool uses.`);
}

function leftOver(call: Call): EventDraft {
  return resultDraft(call, "UNKNOWN", "No result was recorded for this call.", true);
}

function sameIds(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((id) => right.includes(id));
}
