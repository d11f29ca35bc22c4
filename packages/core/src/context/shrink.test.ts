import { describe, expect, it } from "vitest";
import { decide } from "../decide.ts";
import type { JsonObject, SessionEvent } from "../events.ts";
import { fold } from "../evolve.ts";
import { defaultLimits, type Limits } from "../limits.ts";
import { failureEvents, summaryEvents } from "../model-response.ts";
import {
  answered,
  created,
  ended,
  requested,
  result,
  running,
  said,
  startMs,
  stored,
  used,
  type Written,
  woken,
} from "../testing/test-log.ts";

const usage = (input_tokens: number) => ({
  input_tokens,
  output_tokens: 0,
  cache_read_input_tokens: 0,
  cache_creation_input_tokens: 0,
});

/** A task whose requests were answered at growing length, ready for the next request. */
function asking(requests: number, metadata: Record<string, string> = {}, budget: JsonObject | null = null): Written[] {
  const log: Written[] = [{ ...created(), metadata, budget } as Written, said("count"), woken(), running];
  for (let n = 1; n <= requests; n += 1) {
    log.push(requested(`r${n}`, log.length), answered(`step ${n}`), used(`c${n}`));
    log.push(
      { ...ended(`r${n}`, "tool_use"), model_usage: usage(1_000 * n) } as Written,
      result(`c${n}`, `output ${n}`),
    );
  }
  return log;
}

function next(log: readonly Written[], limits: Partial<Limits> = {}, now = startMs) {
  const events: SessionEvent[] = stored(log);
  return decide({ state: fold(events), now, limits: { ...defaultLimits, ...limits }, epoch: 1, inFlight: new Set() });
}

const overflow: Written[] = failureEvents(
  "rx",
  { kind: "contextOverflow", message: "prompt is too long" },
  1,
  defaultLimits,
).map((event) => ({ ...event, epoch: 1 }));
const setting = (text: string) => ({ "manyhands.context": text });

describe("a conversation that grows too long", () => {
  it("is summarised once a request had more tokens than the trigger, up to the newest responses", () => {
    const metadata = setting('{"type":"compaction","trigger_tokens":5500,"keep_requests":2}');
    expect(next(asking(5, metadata))).toMatchObject({ type: "callModel" });
    expect(next(asking(5, metadata))).not.toHaveProperty("purpose");
    const log = asking(6, metadata);
    const action = next(log);
    expect(action).toMatchObject({ type: "callModel", purpose: "compaction", contextPosition: 24, attempt: 1 });

    const start: Written = { ...requested("s1", 24), purpose: "compaction" } as Written;
    const response = {
      blocks: [{ type: "text", id: "m", text: "So far." }],
      stopReason: "end_turn",
      usage: usage(9),
      timeToFirstTokenMs: 1,
    } as const;
    const after = [
      ...log,
      start,
      ...(summaryEvents("s1", 24, response) ?? []).map((event) => ({ ...event, epoch: 1 })),
    ];
    const state = fold(stored(after));
    expect(state).toMatchObject({
      phase: "asking",
      iterations: 6,
      window: { compactions: 1, overflows: 0, cutPoints: [29] },
    });
    expect(next(after)).toMatchObject({ type: "callModel", contextPosition: after.length });
    expect(next(after)).not.toHaveProperty("purpose");
  });

  it("takes no words for a summary as a failed try", () => {
    expect(
      summaryEvents("s1", 5, { blocks: [], stopReason: "end_turn", usage: usage(1), timeToFirstTokenMs: 1 }),
    ).toBeUndefined();
  });

  it("is summarised when the provider refuses it, at half its length, then at a quarter", () => {
    const log = [...asking(8), requested("rx", 44), ...overflow];
    expect(next(log)).toMatchObject({ type: "callModel", purpose: "compaction", contextPosition: 24 });
    const again = [...log, { ...requested("rx", 24), purpose: "compaction" } as Written, ...overflow];
    expect(next(again)).toMatchObject({ type: "callModel", purpose: "compaction", contextPosition: 14 });
  });

  it("leaves the older half out where the strategy makes no summaries", () => {
    const log = [...asking(8, setting("window")), requested("rx", 44), ...overflow];
    expect(next(log)).toEqual({
      type: "append",
      events: [{ type: "agent.thread_context_compacted", from_position: 0, to_position: 24, summary: "" }],
    });
  });

  it("leaves everything but the task out when there is nowhere to cut, and gives up with words when that is too long too", () => {
    let log = [...asking(1), requested("rx", 9), ...overflow];
    for (let n = 0; n < 4; n += 1) {
      const action = next(log);
      expect(action).toMatchObject({
        type: "append",
        events: [{ type: "agent.thread_context_compacted", summary: "" }],
      });
      if (action.type !== "append") throw new Error("not an append");
      log = [...log, ...action.events.map((event) => ({ ...event, epoch: 1 })), requested("rx", 9), ...overflow];
    }
    expect(JSON.stringify(next(log))).toContain("compaction_limit_reached_error");
  });

  it("ends its turn with an explicit error where everything must be shown", () => {
    const log = [...asking(8, setting("full")), requested("rx", 44), ...overflow];
    const action = next(log);
    expect(JSON.stringify(action)).toContain("compaction_limit_reached_error");
    expect(JSON.stringify(action)).toContain("retries_exhausted");
  });

  it("follows a strategy that is changed while the session lives", () => {
    const changed: Written = { type: "session.updated", metadata: setting("full") } as Written;
    const log = [...asking(8), changed, requested("rx", 45), ...overflow];
    expect(JSON.stringify(next(log))).toContain("compaction_limit_reached_error");
  });
});

describe("a budget", () => {
  const tokens = { type: "limit", max_tokens: 3_000 };
  const cents = { type: "limit", max_list_cost: { amount: "1", currency: "USD" } };
  const prices = { "demo-1": { input: 5, output: 25, cache_read: 0.5, cache_write: 6 } };

  it("stops before the next request, waits, and goes on when it is raised", () => {
    expect(next(asking(1, {}, tokens))).toMatchObject({ type: "callModel" });
    const log = asking(2, {}, tokens);
    const action = next(log);
    expect(action).toMatchObject({
      type: "append",
      events: [{ type: "session.usage" }, { stop_reason: { type: "budget_reached" } }],
    });
    if (action.type !== "append") throw new Error("not an append");
    const stopped = [...log, ...action.events.map((event) => ({ ...event, epoch: 1 }))];
    expect(next(stopped)).toEqual({ type: "rest" });
    expect(next([...stopped, said("go on")])).toMatchObject({
      events: [{}, { stop_reason: { type: "budget_reached" } }],
    });
    const raised: Written = { type: "session.updated", budget: { type: "limit", max_tokens: 9_000 } } as Written;
    expect(next([...stopped, raised])).toMatchObject({ type: "append", events: [{ type: "session.status_running" }] });
  });

  it("is held in list cost by the configured prices, and refuses a model without one", () => {
    expect(next(asking(1, {}, cents), { prices })).toMatchObject({ type: "callModel" });
    expect(next(asking(2, {}, cents), { prices })).toMatchObject({
      events: [{}, { stop_reason: { type: "budget_reached" } }],
    });
    expect(JSON.stringify(next(asking(1, {}, cents)))).toContain("No list price is configured for demo-1");
  });
});

describe("the wall time of a turn", () => {
  it("ends it before the next request", () => {
    const log = asking(2);
    expect(next(log, { turnMs: 60_000 }, startMs + 50_000)).toMatchObject({ type: "callModel" });
    expect(JSON.stringify(next(log, { turnMs: 60_000 }, startMs + 80_000))).toContain("limit of 60 seconds");
  });
});
