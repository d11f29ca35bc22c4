/**
 * Replays a log: at every decision with an effect it holds, a harness is asked what it would have done there. The log goes
 * on as it was whatever the harness says, so that every later decision is compared too, and nothing is ever run.
 */
import {
  buildModelRequest,
  buildSummaryRequest,
  emptyState,
  evolve,
  isUnknownEvent,
  type Limits,
  type ModelRequest,
  type ModelResponse,
  type SessionEvent,
  type State,
  type UnknownEvent,
  withSettings,
} from "@manyhands/core";
import type { Harness } from "../harness-kinds.ts";
import { type Decision, decisionOf, type RecordedDecision, recordedDecisions } from "./decision.ts";
import { createMeter, type Measured } from "./measure-request.ts";

/** What is replayed, and by whom. */
export interface Replay {
  readonly events: readonly (SessionEvent | UnknownEvent)[];
  readonly harness: Harness;
  readonly limits: Limits;
  /** Settings tried instead of the session's own. */
  readonly settings: Readonly<Record<string, string>>;
  /** Asks the model anew; absent where answers come from the log. */
  readonly ask?: (request: ModelRequest) => Promise<ModelResponse | string>;
}

/** One decision, compared. */
export interface ReplayStep {
  readonly position: number;
  readonly recorded: Decision;
  readonly tried: Decision;
  /** Empty when nothing differs. */
  readonly difference: string;
  readonly recordedRequest?: Measured;
  readonly triedRequest?: Measured;
}

/** Every decision of the log, in order. */
export async function* replayLog(replay: Replay): AsyncGenerator<ReplayStep> {
  const { events } = replay;
  const meters = { recorded: createMeter(), tried: createMeter() };
  let state: State = emptyState;
  let folded = 0;
  for (const recorded of recordedDecisions(events)) {
    for (; folded < recorded.index; folded += 1) {
      const event = events[folded];
      if (event !== undefined) state = evolve(state, event);
    }
    const at = events[recorded.index];
    if (at === undefined) return;
    const tried = retuned(state, replay.settings);
    const decision = decisionOf(replay.harness, tried, { now: at.at, epoch: at.epoch, limits: replay.limits });
    yield await compare(replay, recorded, { state, tried, decision, position: at.position }, meters);
  }
}

interface Point {
  readonly state: State;
  readonly tried: State;
  readonly decision: Decision;
  readonly position: number;
}

type Meters = Readonly<Record<"recorded" | "tried", ReturnType<typeof createMeter>>>;

async function compare(
  replay: Replay,
  recorded: RecordedDecision,
  { state, tried, decision, position }: Point,
  meters: Meters,
): Promise<ReplayStep> {
  const base = { position, recorded: recorded.decision, tried: decision };
  const was = requestOf(replay, recorded.decision, state, recorded.request?.contextPosition);
  const is = requestOf(replay, decision, tried, contextOf(decision, recorded));
  const requests = {
    ...(was === undefined ? {} : { recordedRequest: meters.recorded(was) }),
    ...(is === undefined ? {} : { triedRequest: meters.tried(is) }),
  };
  const difference = differenceOf(recorded.decision, decision) || requestDifference(was, is);
  if (replay.ask === undefined || is === undefined || recorded.request === undefined) {
    return { ...base, ...requests, difference };
  }
  const answer = await replay.ask(is);
  const spoken = answerDifference(replay.events, recorded.request.id, answer);
  return { ...base, ...requests, difference: [difference, spoken].filter((part) => part !== "").join("; ") };
}

/** A request of the conversation is shown what the log's was shown; a summary what the harness chose. */
function contextOf(decision: Decision, { request }: RecordedDecision): number | undefined {
  if (decision.type === "summary") return decision.action?.contextPosition;
  return request?.contextPosition ?? (decision.type === "model" ? decision.action?.contextPosition : undefined);
}

function requestOf(
  { events, limits }: Replay,
  decision: Decision,
  state: State,
  contextPosition: number | undefined,
): ModelRequest | undefined {
  if (decision.type !== "model" && decision.type !== "summary") return undefined;
  if (!("agent" in state) || contextPosition === undefined) return undefined;
  const build = decision.type === "model" ? buildModelRequest : buildSummaryRequest;
  const agent = { ...state.agent, model: decision.model };
  return build(events, { agent, contextPosition, maxOutputTokens: limits.maxOutputTokens });
}

function retuned(state: State, settings: Readonly<Record<string, string>>): State {
  if (!("agent" in state) || Object.keys(settings).length === 0) return state;
  const all = { ...state.settings, ...settings };
  return { ...state, settings: all, agent: withSettings(state.agent, all) };
}

/** A decision in words. */
export function inWords(decision: Decision): string {
  switch (decision.type) {
    case "model":
      return `asks ${decision.model}`;
    case "summary":
      return `asks ${decision.model} for a summary`;
    case "tools":
      return `runs ${decision.ids.join(", ")}`;
    case "idle":
      return `ends the turn (${decision.reason})`;
    case "nothing":
      return decision.why;
    default: {
      const never: never = decision;
      return never;
    }
  }
}

function differenceOf(recorded: Decision, tried: Decision): string {
  const was = inWords(recorded);
  const is = inWords(tried);
  return was === is ? "" : `the log ${was}; the tried harness ${is}`;
}

function requestDifference(was: ModelRequest | undefined, is: ModelRequest | undefined): string {
  if (was === undefined || is === undefined || JSON.stringify(was) === JSON.stringify(is)) return "";
  const turn = is.messages.findIndex((one, at) => JSON.stringify(one) !== JSON.stringify(was.messages[at]));
  const where = turn < 0 ? "outside the turns" : `from turn ${turn} on`;
  return `the request differs ${where} (${was.messages.length} turns were shown, ${is.messages.length} would be)`;
}

function answerDifference(
  events: readonly (SessionEvent | UnknownEvent)[],
  startId: string,
  answer: ModelResponse | string,
): string {
  if (typeof answer === "string") return `the model did not answer: ${answer}`;
  const was = recordedUses(events, startId);
  const is = answer.blocks.flatMap((block) => (block.type === "tool_use" ? [useText(block.name, block.input)] : []));
  const say = (uses: readonly string[]) => (uses.length === 0 ? "no tool" : uses.join(", "));
  return say(was) === say(is) ? "" : `the model asked for ${say(was)}; it now asks for ${say(is)}`;
}

function recordedUses(events: readonly (SessionEvent | UnknownEvent)[], startId: string): string[] {
  const from = events.findIndex((event) => event.id === startId);
  const uses: string[] = [];
  for (const event of events.slice(from + 1)) {
    if (isUnknownEvent(event)) continue;
    if (event.type === "span.model_request_end" && event.model_request_start_id === startId) return uses;
    if (event.type === "agent.tool_use" || event.type === "agent.custom_tool_use")
      uses.push(useText(event.name, event.input));
    else if (event.type === "agent.mcp_tool_use") uses.push(useText(event.name, event.input));
  }
  return uses;
}

function useText(name: string, input: object): string {
  return `${name} ${JSON.stringify(input)}`;
}
