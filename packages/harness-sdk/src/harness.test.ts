import { defaultLimits, fold, type SessionEvent, type View } from "@manyhands/core";
import { describe, expect, it } from "vitest";
import { cheapFirst } from "./cheap-first.ts";
import { defineHarness } from "./harness.ts";
import { harnessesIn } from "./harness-module.ts";

function view(metadata: Record<string, string> = {}): View {
  const setup = {
    workspace_id: "w",
    agent: { model: "big" },
    environment: {},
    title: "",
    resources: [],
    vault_ids: [],
  };
  const created = { ...setup, type: "session.created", harness_kind: "cheap-first", budget: null, metadata } as const;
  const said = { type: "user.message", content: [{ type: "text", text: "hi" }] } as const;
  const running = { type: "session.status_running" } as const;
  const events = [created, said, running].map(
    (event, position): SessionEvent =>
      // The three literals are events but for their envelope.
      ({ ...event, id: `sevt_${position}`, position, at: position, epoch: 0 }) as SessionEvent,
  );
  return { state: fold(events), now: 10, limits: defaultLimits, epoch: 1, inFlight: new Set() };
}

describe("cheap-first", () => {
  const harness = cheapFirst({ model: "small", requests: 2 });

  it("asks the cheap model first, or the one the session names", () => {
    expect(harness.next(view())).toMatchObject({ type: "callModel", model: "small" });
    expect(harness.next(view({ "manyhands.cheap_model": "tiny" }))).toMatchObject({ model: "tiny" });
  });

  it("asks the agent's own model once the turn is work, or after a failure", () => {
    const at = (change: object): View => {
      const { state, ...rest } = view();
      return { ...rest, state: { ...state, ...change } as View["state"] }; // a state further on in the same turn
    };
    expect(harness.next(at({ iterations: 2 }))).not.toHaveProperty("model");
    const failed = { phase: "asking", failures: 1, retryAtMs: 0, exhausted: false, calls: [] };
    expect(harness.next(at(failed))).not.toHaveProperty("model");
  });
});

describe("a harness module", () => {
  const mine = { kind: "mine", version: "1", next: () => ({ type: "rest" }) as const };

  it("exports one harness or a list", () => {
    expect(harnessesIn({ default: mine }, "a.ts")).toEqual([mine]);
    expect(harnessesIn({ default: [mine, mine] }, "a.ts")).toHaveLength(2);
  });

  it("is refused with its name and the rule", () => {
    expect(() => harnessesIn({ default: { kind: "mine" } }, "a.ts")).toThrow("a.ts must export by default a harness");
    expect(() => defineHarness({ ...mine, kind: "a.b" })).toThrow("kind must have 1 to 64");
  });
});
