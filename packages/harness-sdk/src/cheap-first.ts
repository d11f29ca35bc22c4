/**
 * A harness that lets a cheap model begin every turn and calls the agent's own model once the turn turns out to be work:
 * after a few answers, or as soon as a request failed. Everything else is the default harness.
 */
import { decide } from "@manyhands/core";
import { defineHarness, type Harness, withModelCall } from "./harness.ts";

/** What it is set to; sessions override it by their metadata. */
export interface CheapFirstOptions {
  /** Model that begins; `manyhands.cheap_model` in a session's metadata wins. */
  readonly model: string;
  /** Model answers of a turn that it gives at the most; `manyhands.cheap_requests` wins. Default 2. */
  readonly requests?: number;
}

/** The harness of kind `cheap-first`. */
export function cheapFirst({ model, requests = 2 }: CheapFirstOptions): Harness {
  return defineHarness({
    kind: "cheap-first",
    version: "1.0.0",
    next(view) {
      const { state } = view;
      return withModelCall(decide(view), (call) => {
        if (state.phase === "unborn" || state.phase === "closed") return call;
        const most = Number.parseInt(state.settings["manyhands.cheap_requests"] ?? "", 10) || requests;
        const isEarly = state.iterations < most && call.attempt === 1;
        return isEarly ? { ...call, model: state.settings["manyhands.cheap_model"] ?? model } : call;
      });
    },
  });
}
