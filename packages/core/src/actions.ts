/** What a harness can want next. Imperative, as data; the shell performs it. */
import type { EventPayloads, EventType } from "./events.ts";
import type { Call } from "./state.ts";

/** An event whose id is not made yet: ids come from outside the core. */
export type EventDraft<T extends EventType = EventType> = T extends EventType
  ? { type: T; session_thread_id?: string } & EventPayloads[T]
  : never;

/** The next step. */
export type Action =
  /** Nothing to do: let go of the session. */
  | { readonly type: "rest" }
  /** Something is on its way: wait for it, for new events, or until a time (milliseconds since 1970). */
  | { readonly type: "wait"; readonly untilMs?: number }
  /** Write events; the shell may put several such steps into one frame. */
  | { readonly type: "append"; readonly events: readonly EventDraft[] }
  /** Ask the model, shown the log below `contextPosition`. `closes` is a request of a dead brain to close first. */
  | { readonly type: "callModel"; readonly contextPosition: number; readonly attempt: number; readonly closes?: string }
  /** Make a hand. */
  | { readonly type: "provision"; readonly calls: readonly Call[] }
  /** Start operations that this brain dispatched, and follow those that a dead brain did. */
  | { readonly type: "operate"; readonly start: readonly Call[]; readonly follow: readonly Call[] }
  /** Stop everything that runs: the user interrupted. */
  | { readonly type: "cancel"; readonly calls: readonly Call[] };
