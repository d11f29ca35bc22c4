/** The part of the fold that tells how full the model's context is. */
import { tokensOf } from "../budget.ts";
import type { EventOf } from "../events.ts";

/** What is known of the context since it was last shortened. */
export interface WindowState {
  /** Tokens of the last answered request of the conversation, response included; 0 when none. */
  readonly tokens: number;
  /** Requests in a row that the provider refused for their length. */
  readonly overflows: number;
  /** Times the context was shortened since a request of the conversation was answered. */
  readonly compactions: number;
  /** Where the context may be cut: `context_position` of answered requests, oldest first. */
  readonly cutPoints: readonly number[];
}

/** Nothing asked yet. */
export const emptyWindow: WindowState = { tokens: 0, overflows: 0, compactions: 0, cutPoints: [] };

/** Stop reason that a refused request is stored with when it was too long. */
export const contextOverflow = "context_overflow";

const maxCutPoints = 64;

/** A request of the conversation ended that was shown the log below `contextPosition`. */
export function requestEnded(
  window: WindowState,
  event: EventOf<"span.model_request_end">,
  contextPosition: number,
): WindowState {
  if (event.is_error) return overflowed(window, event);
  const last = window.cutPoints.at(-1) ?? -1;
  const points = contextPosition > last ? [...window.cutPoints, contextPosition] : window.cutPoints;
  return {
    tokens: tokensOf(event.model_usage),
    overflows: 0,
    compactions: 0,
    cutPoints: points.length > maxCutPoints ? thinned(points) : points,
  };
}

/** A request for a summary ended; only its refusal for length matters here. */
export function overflowed(window: WindowState, event: EventOf<"span.model_request_end">): WindowState {
  const isOverflow = event.is_error && event.stop_reason === contextOverflow;
  return isOverflow ? { ...window, overflows: window.overflows + 1 } : window;
}

/** Everything below a position is left out from here on. */
export function compacted(window: WindowState, toPosition: number): WindowState {
  return {
    tokens: 0,
    overflows: 0,
    compactions: window.compactions + 1,
    cutPoints: window.cutPoints.filter((point) => point > toPosition),
  };
}

/** Every second of the older half goes, so that both ends stay reachable. */
function thinned(points: readonly number[]): number[] {
  const half = Math.floor(points.length / 2);
  return points.filter((_, index) => index >= half || index % 2 === 0);
}
