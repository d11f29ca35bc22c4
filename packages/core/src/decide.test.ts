import { describe, expect, it } from "vitest";
import type { Action } from "./actions.ts";
import { decide, type View } from "./decide.ts";
import { fold } from "./evolve.ts";
import { defaultLimits } from "./limits.ts";
import {
  answered,
  created,
  dispatched,
  ended,
  idled,
  provisioned,
  requested,
  result,
  running,
  said,
  startMs,
  stored,
  used,
  type Written,
  woken,
} from "./testing/test-log.ts";

function when(given: Written[], view: Partial<View> = {}): Action {
  const state = fold(stored(given));
  return decide({
    state,
    now: startMs + given.length * 1_000,
    limits: defaultLimits,
    epoch: 1,
    inFlight: new Set(),
    ...view,
  });
}

/** Types of the events an append would write; any other action as its type. */
function then(action: Action): string[] {
  return action.type === "append" ? action.events.map((event) => event.type) : [action.type];
}

const woke = [created(), said("hi"), woken(), running];
const asked = [...woke, requested("r1", 2)];
const usedOne = [...asked, used("c1"), ended("r1", "tool_use")];
const usedTwo = [...asked, used("c1"), used("c2"), ended("r1", "tool_use")];
const unanswered = { inFlight: new Set(["model"]) };

describe("a turn of words", () => {
  it("rests where nothing was asked", () => {
    expect(then(when([]))).toEqual(["rest"]);
    expect(then(when([created()]))).toEqual(["rest"]);
  });

  it("says that it runs, then asks the model with everything so far", () => {
    expect(then(when([created(), said("hi"), woken()]))).toEqual(["session.status_running"]);
    expect(when(woke)).toEqual({ type: "callModel", contextPosition: 4, attempt: 1 });
  });

  it("waits for its own request", () => {
    expect(when(asked, unanswered)).toEqual({ type: "wait" });
  });

  it("ends the turn with its usage", () => {
    const action = when([...asked, answered("hello"), ended("r1", "end_turn")]);
    expect(action).toEqual({
      type: "append",
      events: [
        {
          type: "session.usage",
          usage: { input_tokens: 10, output_tokens: 5, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
          active_seconds: 6,
        },
        { type: "session.status_idle", stop_reason: { type: "end_turn" } },
      ],
    });
  });

  it("rests after the end", () => {
    expect(then(when([...asked, answered("hello"), ended("r1", "end_turn"), idled()]))).toEqual(["rest"]);
  });

  it("takes up input that arrived while the model spoke, all at once and in order", () => {
    const log = [...asked, said("one"), said("two"), answered("hello"), ended("r1", "end_turn")];
    expect(when(log)).toEqual({ type: "callModel", contextPosition: 9, attempt: 1 });
  });

  it.each([
    ["refusal", "refusal"],
    ["max_tokens", "end_turn"],
  ])("ends a turn that stopped by %s as %s", (stop, reason) => {
    const action = when([...asked, answered("well"), ended("r1", stop)]);
    expect(action).toMatchObject({ events: [{}, { stop_reason: { type: reason } }] });
  });

  it("asks again after pause_turn", () => {
    expect(then(when([...asked, answered("well"), ended("r1", "pause_turn")]))).toEqual(["callModel"]);
  });
});

describe("tools", () => {
  it("makes a hand at the first call that needs one, once", () => {
    expect(then(when(usedOne))).toEqual(["provision"]);
    expect(then(when(usedOne, { inFlight: new Set(["provision"]) }))).toEqual(["wait"]);
  });

  it("writes the intent before it runs anything, under the id of the tool use", () => {
    expect(when([...usedTwo, provisioned()])).toEqual({
      type: "append",
      events: [
        { type: "operation.dispatched", operation_id: "c1", hand_id: "hand_1", attempt: 1 },
        { type: "operation.dispatched", operation_id: "c2", hand_id: "hand_1", attempt: 1 },
      ],
    });
  });

  it("starts what it dispatched itself and waits for it", () => {
    const log = [...usedOne, provisioned(), dispatched("c1")];
    expect(when(log)).toMatchObject({ type: "operate", start: [{ id: "c1" }], follow: [] });
    expect(then(when(log, { inFlight: new Set(["c1"]) }))).toEqual(["wait"]);
  });

  it("has at most so many operations in flight", () => {
    const limits = { ...defaultLimits, parallelTools: 1 };
    expect(then(when([...usedTwo, provisioned()], { limits }))).toEqual(["operation.dispatched"]);
    const log = [...usedTwo, provisioned(), dispatched("c1")];
    expect(then(when(log, { limits, inFlight: new Set(["c1"]) }))).toEqual(["wait"]);
  });

  it("asks the model only when every tool use has its result", () => {
    const half = [...usedTwo, provisioned(), dispatched("c1"), dispatched("c2"), result("c2")];
    expect(then(when(half, { inFlight: new Set(["c1"]) }))).toEqual(["wait"]);
    expect(then(when([...half, result("c1")]))).toEqual(["callModel"]);
  });

  it("refuses an unknown or disabled tool with an error result", () => {
    const action = when([...asked, used("c1", "fly", "deny"), ended("r1", "tool_use")]);
    expect(action).toMatchObject({ events: [{ type: "agent.tool_result", tool_use_id: "c1", is_error: true }] });
  });

  it("gives the tools of a lost hand a new one", () => {
    const lost: Written = { type: "hand.lost", hand_id: "hand_1", reason: "gone" };
    expect(then(when([...usedOne, provisioned(), lost]))).toEqual(["provision"]);
  });

  it("leaves tools of a self-hosted environment to its worker", () => {
    const log = [created({}, { config: { type: "self_hosted" } }), ...usedOne.slice(1)];
    expect(when(log)).toMatchObject({ events: [{}, { stop_reason: { type: "requires_action", event_ids: ["c1"] } }] });
    const answer: Written = { type: "user.tool_result", tool_use_id: "c1", content: [] };
    expect(then(when([...log, answer]))).toEqual(["callModel"]);
    const stop = when([...log, { type: "user.interrupt" }]);
    expect(stop).toMatchObject({ events: [{ type: "agent.tool_result", outcome: "UNKNOWN" }, {}, {}] });
  });

  it("runs its own tools in a self-hosted environment too, and leaves allowed calls to the worker", () => {
    const start = [created({}, { config: { type: "self_hosted" } }), ...asked.slice(1)];
    const search = [...start, used("c1", "web_search", "allow"), ended("r1", "tool_use")];
    expect(then(when(search))).toEqual(["operation.dispatched"]);
    const write = [...start, used("c1", "write", "ask"), ended("r1", "tool_use")];
    const allow: Written = { type: "user.tool_confirmation", tool_use_id: "c1", result: "allow" };
    expect(when([...write, allow])).toMatchObject({ events: [{}, { stop_reason: { event_ids: ["c1"] } }] });
    const answer: Written = { type: "user.tool_result", tool_use_id: "c1", content: [] };
    expect(then(when([...write, allow, answer]))).toEqual(["callModel"]);
  });
});

describe("the client's part", () => {
  const askedTwice = [
    ...asked,
    used("c1", "write", "ask"),
    used("c2", "write", "ask"),
    ended("r1", "tool_use"),
    provisioned(),
  ];
  const waiting = [...askedTwice, idled("requires_action", ["c1", "c2"])];
  const allow = (id: string): Written => ({ type: "user.tool_confirmation", tool_use_id: id, result: "allow" });

  it("says which calls need an answer, then waits at no cost", () => {
    expect(when(askedTwice)).toMatchObject({
      events: [{}, { stop_reason: { type: "requires_action", event_ids: ["c1", "c2"] } }],
    });
    expect(then(when(waiting))).toEqual(["rest"]);
  });

  it("runs an allowed call, and then says which are left", () => {
    expect(then(when([...waiting, allow("c2"), running]))).toEqual(["operation.dispatched"]);
    const done = [...waiting, allow("c2"), running, dispatched("c2"), result("c2")];
    expect(when(done)).toMatchObject({ events: [{}, { stop_reason: { event_ids: ["c1"] } }] });
  });

  it("answers a denied call with the user's words and goes on", () => {
    const deny: Written = {
      type: "user.tool_confirmation",
      tool_use_id: "c1",
      result: "deny",
      deny_message: "not now",
    };
    const action = when([...waiting, allow("c2"), running, dispatched("c2"), result("c2"), deny]);
    expect(action).toMatchObject({ events: [{ tool_use_id: "c1", is_error: true }] });
    expect(JSON.stringify(action)).toContain("not now");
  });

  it("keeps waiting when a message arrives, and says so again", () => {
    expect(when([...waiting, said("and?")])).toMatchObject({
      events: [{}, { stop_reason: { type: "requires_action" } }],
    });
  });

  it("waits for the result of a custom tool", () => {
    const log = [
      ...asked,
      { id: "c1", type: "agent.custom_tool_use" as const, name: "lookup", input: {} },
      ended("r1", "tool_use"),
    ];
    expect(when(log)).toMatchObject({ events: [{}, { stop_reason: { event_ids: ["c1"] } }] });
    const answer: Written = { type: "user.custom_tool_result", custom_tool_use_id: "c1", content: [] };
    expect(then(when([...log, answer]))).toEqual(["callModel"]);
  });
});

describe("interrupts", () => {
  const stop: Written = { type: "user.interrupt" };

  it("closes the request and ends the turn", () => {
    const action = when([...asked, stop], unanswered);
    expect(then(action)).toEqual(["span.model_request_end", "session.usage", "session.status_idle"]);
    expect(action).toMatchObject({ events: [{ is_error: true }, {}, { stop_reason: { type: "end_turn" } }] });
  });

  it("stops running operations first, then answers every open call", () => {
    const log = [...usedTwo, provisioned(), dispatched("c1"), stop];
    expect(when(log)).toMatchObject({ type: "cancel", calls: [{ id: "c1" }] });
    expect(then(when([...log, result("c1", "stopped")]))).toEqual([
      "agent.tool_result",
      "session.usage",
      "session.status_idle",
    ]);
  });

  it("then starts the next turn with what was queued", () => {
    const log = [...asked, said("other"), stop, ended("r1", "", true), idled()];
    expect(then(when(log))).toEqual(["session.status_running"]);
    expect(then(when([...log, running]))).toEqual(["callModel"]);
  });

  it("ends a turn that no brain had begun", () => {
    expect(then(when([created(), said("hi"), stop]))).toEqual(["session.usage", "session.status_idle"]);
    expect(then(when([created(), said("hi"), stop, said("that instead")]))).toEqual([
      "session.usage",
      "session.status_idle",
    ]);
    expect(then(when([created(), said("hi"), stop, said("that instead"), idled(), running]))).toEqual(["callModel"]);
  });

  it("closes calls that wait for the client", () => {
    const log = [...asked, used("c1", "write", "ask"), ended("r1", "tool_use"), idled("requires_action", ["c1"]), stop];
    expect(then(when(log))).toEqual(["agent.tool_result", "session.usage", "session.status_idle"]);
  });
});

describe("after a crash (H4)", () => {
  it("closes the dead brain's request and asks again", () => {
    expect(when([...asked, woken(2)], { epoch: 2 })).toMatchObject({ type: "callModel", closes: "r1", attempt: 1 });
  });

  it("dispatches what was not dispatched, under the same id", () => {
    expect(when([...usedOne, provisioned(), woken(2)], { epoch: 2 })).toMatchObject({
      events: [{ operation_id: "c1" }],
    });
  });

  it("follows what was dispatched and never starts it", () => {
    const action = when([...usedOne, provisioned(), dispatched("c1"), woken(2)], { epoch: 2 });
    expect(action).toMatchObject({ type: "operate", start: [], follow: [{ id: "c1" }] });
  });

  it("gives up a session that brains take again and again without any progress", () => {
    const wakes = Array.from({ length: defaultLimits.wakesWithoutProgress }, (_, n) => woken(n + 2));
    const log = [...usedOne, provisioned(), dispatched("c1"), ...wakes];
    expect(then(when(log, { epoch: 99 }))).toEqual(["operate"]);
    expect(then(when([...log, woken(99)], { epoch: 99 }))).toEqual([
      "agent.tool_result",
      "session.error",
      "session.usage",
      "session.status_idle",
    ]);
  });
});

describe("brains that hand a session back", () => {
  it("are as many as there are: a rolling restart, or one session after the other making room, ends no turn", () => {
    const released: Written = { type: "brain.released", reason: "drain" };
    const handed = Array.from({ length: 3 * defaultLimits.wakesWithoutProgress }, (_, n) => [woken(n + 2), released]);
    const log = [...usedOne, provisioned(), dispatched("c1"), ...handed.flat(), woken(99)];
    expect(then(when(log, { epoch: 99 }))).toEqual(["operate"]);
  });
});

describe("model errors and limits", () => {
  const failed = [
    ...asked,
    ended("r1", "", true),
    { type: "session.status_rescheduled", attempt: 1, retry_after_ms: 5_000 } as const,
  ];

  it("waits until the next try is due, then asks again and says so", () => {
    const dueMs = startMs + 6_000 + 5_000;
    expect(when(failed)).toEqual({ type: "wait", untilMs: dueMs });
    expect(then(when(failed, { now: dueMs }))).toEqual(["session.status_running"]);
    expect(when([...failed, running], { now: dueMs })).toMatchObject({ type: "callModel", attempt: 2 });
  });

  it("ends the turn as retries_exhausted when the error is final, and keeps the session", () => {
    const error = { type: "model_overloaded_error", message: "busy", retry_status: { type: "exhausted" as const } };
    const log: Written[] = [...asked, ended("r1", "", true), { type: "session.error", error }];
    expect(when(log)).toMatchObject({ events: [{}, { stop_reason: { type: "retries_exhausted" } }] });
    expect(then(when([...log, idled("retries_exhausted")]))).toEqual(["rest"]);
    expect(then(when([...log, idled("retries_exhausted"), said("again"), running]))).toEqual(["callModel"]);
  });

  it("stops a turn with too many model requests", () => {
    const limits = { ...defaultLimits, iterationsPerTurn: 1 };
    const action = when([...usedOne, provisioned(), dispatched("c1"), result("c1")], { limits });
    expect(then(action)).toEqual(["session.error", "session.usage", "session.status_idle"]);
  });

  it("answers tool uses beyond the limit with an error, then stops the turn", () => {
    const limits = { ...defaultLimits, toolCallsPerTurn: 1 };
    expect(when([...usedTwo, provisioned()], { limits })).toMatchObject({
      events: [{ type: "agent.tool_result", tool_use_id: "c2", is_error: true }],
    });
    const log = [...usedTwo, provisioned(), dispatched("c1"), result("c1"), result("c2")];
    expect(then(when(log, { limits }))).toEqual(["session.error", "session.usage", "session.status_idle"]);
  });

  it("does nothing for a closed session", () => {
    expect(then(when([...asked, { type: "session.archived" }]))).toEqual(["rest"]);
  });
});
