/**
 * Where a context begins. A cut stands at a model request that was answered: everything the model was shown by it is
 * left out, its response and what followed is kept. So no tool use is ever parted from its result.
 *
 * K1 A cut is a pure function of the log below the request, so every brain cuts at the same place.
 * K2 Cuts move in steps, not with every request: between two steps a request only grows, and the provider's cache holds.
 */
import { type EventOf, isUnknownEvent, type SessionEvent, type UnknownEvent } from "../events.ts";
import type { ContextStrategy } from "./strategy.ts";

/** A user's words that begin or steer work. */
export type TaskInput = EventOf<"user.message" | "user.define_outcome">;

/** Where the context begins, and what stands there instead of what is left out. */
export interface Cut {
  /** Events below this position are left out. */
  readonly position: number;
  /** What was summarised; empty when it is only left out. */
  readonly summary: string;
  /** The latest words of the user below the cut: what the model is working on. */
  readonly task: readonly TaskInput[];
}

/** What the log says about possible cuts. */
interface Survey {
  /** `context_position` of every answered request of the conversation, oldest first. */
  readonly answered: readonly number[];
  readonly inputs: readonly TaskInput[];
  readonly compacted: EventOf<"agent.thread_context_compacted"> | undefined;
  /** Position after the last event of the last finished turn; 0 in the first turn. */
  readonly turnStart: number;
}

/** The cut of a strategy in the log below `contextPosition`; undefined when everything is shown. */
export function cutOf(
  events: readonly (SessionEvent | UnknownEvent)[],
  contextPosition: number,
  strategy: ContextStrategy,
): Cut | undefined {
  if (strategy.type === "full") return undefined;
  const survey = surveyOf(events, contextPosition);
  const own = ownCut(strategy, survey);
  const { compacted } = survey;
  if (compacted !== undefined && compacted.to_position >= own) {
    return {
      position: compacted.to_position,
      summary: compacted.summary,
      task: taskBefore(survey, compacted.to_position),
    };
  }
  if (own === 0) return undefined;
  return { position: own, summary: "", task: strategy.type === "reset" ? [] : taskBefore(survey, own) };
}

/** How many of `total` things a step-wise bound drops so that at least `keep` stay. */
export function droppedInSteps(total: number, keep: number, step: number): number {
  return Math.floor(Math.max(0, total - keep) / step) * step;
}

function ownCut(strategy: ContextStrategy, survey: Survey): number {
  if (strategy.type === "reset") return survey.turnStart;
  if (strategy.type !== "window") return 0;
  const { keep_requests: keep } = strategy;
  const dropped = droppedInSteps(survey.answered.length, keep, Math.max(1, Math.floor(keep / 2)));
  // The request at index `dropped` is the first one kept: cut where it was asked, so that its response stays.
  return dropped === 0 ? 0 : (survey.answered[dropped] ?? 0);
}

function surveyOf(events: readonly (SessionEvent | UnknownEvent)[], contextPosition: number): Survey {
  const asked = new Map<string, number>();
  const answered: number[] = [];
  const inputs: TaskInput[] = [];
  let compacted: Survey["compacted"];
  let turnStart = 0;
  for (const event of events) {
    if (event.position >= contextPosition) break;
    if (isUnknownEvent(event)) continue;
    if (event.type === "user.message" || event.type === "user.define_outcome") inputs.push(event);
    else if (event.type === "span.model_request_start" && event.purpose === undefined) {
      asked.set(event.id, event.context_position);
    } else if (event.type === "span.model_request_end") {
      const position = asked.get(event.model_request_start_id);
      if (position !== undefined && !event.is_error) answered.push(position);
    } else if (event.type === "agent.thread_context_compacted") compacted = event;
    else if (event.type === "session.status_idle" && event.stop_reason.type !== "requires_action") {
      turnStart = event.position + 1;
    }
  }
  return { answered, inputs, compacted, turnStart };
}

/** The newest batch of input below a position: inputs that one request was shown together. */
function taskBefore({ answered, inputs }: Survey, position: number): TaskInput[] {
  const below = inputs.filter((input) => input.position < position);
  const last = below.at(-1);
  if (last === undefined) return [];
  const shownBefore = answered.findLast((asked) => asked <= last.position) ?? 0;
  return below.filter((input) => input.position >= shownBefore);
}
