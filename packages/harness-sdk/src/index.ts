/**
 * Everything a harness in TypeScript needs. A harness is `{kind, version, next(view) → action}`: a total, deterministic
 * function from what the log folds to, to the next step. The service does the rest: wakes, fencing, crash recovery, model
 * requests, operations. See README.md.
 */
export {
  type Action,
  closedRequest,
  decide,
  type EventDraft,
  type ModelCallAction,
  type State,
  type View,
} from "@manyhands/core";
export { cheapFirst } from "./cheap-first.ts";
export { defineHarness, type Harness, withModelCall } from "./harness.ts";
export { harnessesIn } from "./harness-module.ts";
