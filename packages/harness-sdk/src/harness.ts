import type { Action, ModelCallAction, View } from "@manyhands/core";

/** A harness. The same view must always give the same action: a crash lets another process decide again. */
export interface Harness {
  /** Named by sessions and wake subjects: letters, digits, `_` and `-`. */
  readonly kind: string;
  /** Which program of that kind; several can be registered, the first one drives, the others can be replayed. */
  readonly version: string;
  /** The next step. Called after every event; it keeps no memory of its own and never throws on a stored event. */
  next(view: View): Action;
}

const kindPattern = /^[A-Za-z0-9_-]{1,64}$/;
const versionPattern = /^[A-Za-z0-9._+-]{1,64}$/;

/** A checked harness; throws TypeError when kind or version could not stand in a subject or an event. */
export function defineHarness(harness: Harness): Harness {
  if (!kindPattern.test(harness.kind)) throw new TypeError("kind must have 1 to 64 of A-Z a-z 0-9 _ -");
  if (!versionPattern.test(harness.version)) throw new TypeError("version must have 1 to 64 of A-Z a-z 0-9 . _ + -");
  return harness;
}

/** The action with its model request changed; every other action, and requests for summaries, stay as they are. */
export function withModelCall(action: Action, change: (call: ModelCallAction) => ModelCallAction): Action {
  return action.type === "callModel" && action.purpose === undefined ? change(action) : action;
}
