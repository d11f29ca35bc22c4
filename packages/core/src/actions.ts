/** What a harness can want next. Imperative, as data; the shell performs it. */
import type { EventPayloads, EventType } from "./events.ts";
import type { Call } from "./state.ts";

/** An event whose id is not made yet: ids come from outside the core. */
export type EventDraft<T extends EventType = EventType> = T extends EventType
  ? { type: T; session_thread_id?: string } & EventPayloads[T]
  : never;

/** Ask the model. What is left out is the agent's own. */
export interface ModelCallAction {
  readonly type: "callModel";
  /** The model is shown the log below this position. */
  readonly contextPosition: number;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Id of a dead brain's request to close first. */
  readonly closes?: string;
  /** `compaction` asks for a summary instead of an answer. */
  readonly purpose?: "compaction";
  /** Another model than the agent's. */
  readonly model?: string;
}

/** The next step. */
export type Action =
  /** Nothing to do: let go of the session. */
  | { readonly type: "rest" }
  /** Something is on its way: wait for it, for new events, or until a time (milliseconds since 1970). */
  | { readonly type: "wait"; readonly untilMs?: number }
  /** Write events; the shell may put several such steps into one frame. */
  | { readonly type: "append"; readonly events: readonly EventDraft[] }
  | ModelCallAction
  /** Make a hand. */
  | { readonly type: "provision"; readonly calls: readonly Call[] }
  /** Start operations that this brain dispatched, and follow those that a dead brain did. */
  | { readonly type: "operate"; readonly start: readonly Call[]; readonly follow: readonly Call[] }
  /** Stop everything that runs: the user interrupted. */
  | { readonly type: "cancel"; readonly calls: readonly Call[] };
