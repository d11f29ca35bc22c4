import { describe, expect, it } from "vitest";
import { parseAgent } from "../agent-config.ts";
import type { SessionEvent } from "../events.ts";
import {
  answered,
  created,
  ended,
  idled,
  requested,
  result,
  said,
  stored,
  used,
  type Written,
} from "../testing/test-log.ts";
import { buildModelRequest, buildSummaryRequest, buildTurns, type ModelTurn } from "../transcript.ts";
import { readRecallQuery, recallAnswer, recalled } from "./recall.ts";
import { type ContextStrategy, contextOf, defaultContext, readContextStrategy } from "./strategy.ts";

/** A task with `requests` tool calls, each request answered. */
function longTask(requests: number, text = "count"): SessionEvent[] {
  const log: Written[] = [created(), said(text)];
  for (let n = 1; n <= requests; n += 1) {
    const contextPosition = log.length;
    log.push(requested(`r${n}`, contextPosition), answered(`step ${n}`), used(`c${n}`), ended(`r${n}`, "tool_use"));
    log.push(result(`c${n}`, `output ${n}`));
  }
  return stored(log);
}

function turnsOf(events: readonly SessionEvent[], strategy: ContextStrategy): ModelTurn[] {
  return buildTurns(events, Number.POSITIVE_INFINITY, strategy);
}

function words(turns: readonly ModelTurn[]): string {
  return JSON.stringify(turns);
}

/** Every tool use is answered in the next turn, and the conversation begins and ends with the user. */
function isSound(turns: readonly ModelTurn[]): boolean {
  const uses = turns.flatMap((turn) => turn.content.filter((one) => one.type === "tool_use").map((one) => one.id));
  const results = turns.flatMap((turn) =>
    turn.content.filter((one) => one.type === "tool_result").map((one) => one.tool_use_id),
  );
  const alternate = turns.every((turn, at) => turn.role === (at % 2 === 0 ? "user" : "assistant"));
  return alternate && turns.at(-1)?.role === "user" && JSON.stringify(uses) === JSON.stringify(results);
}

const window = { type: "window", keep_requests: 4, recall: true } as const;
const clearing = { type: "clear_tool_results", keep_results: 3, recall: true } as const;
const reset = { type: "reset", recall: true } as const;

describe("a context strategy", () => {
  it("is read from the session's settings, and named wrong says which rule", () => {
    expect(contextOf({})).toEqual(defaultContext);
    expect(contextOf({ "manyhands.context": "window" })).toEqual({ type: "window", keep_requests: 40, recall: true });
    expect(readContextStrategy('{"type":"full","recall":true}')).toEqual({ strategy: { type: "full", recall: true } });
    expect(readContextStrategy("everything")).toEqual({
      problem: "type must be one of full, window, clear_tool_results, compaction, reset",
    });
    expect(readContextStrategy('{"type":"window","keep_requests":0}')).toEqual({
      problem: "keep_requests must be a whole number from 1 to 10000",
    });
    expect(readContextStrategy('{"type":"window","turns":3}')).toEqual({ problem: "turns is no option of window" });
    expect(readContextStrategy("{")).toEqual({ problem: "must be the name of a strategy or a JSON object" });
  });

  it("shows a window in steps, with the task and whole pairs of use and result", () => {
    const sizes = Array.from({ length: 14 }, (_, n) => turnsOf(longTask(n), window).length);
    // Grows by two turns a request and drops four turns at each step of two requests.
    expect(sizes.slice(0, 7)).toEqual([1, 3, 5, 7, 9, 11, 9]);
    for (let n = 0; n < 14; n += 1) expect(isSound(turnsOf(longTask(n), window))).toBe(true);
    const shown = words(turnsOf(longTask(10), window));
    expect(shown).toContain("count");
    expect(shown).not.toContain("output 3");
    expect(shown).toContain("output 10");
    expect(shown).toContain("recall");
  });

  it("empties old tool results only, and names where they stand in the log", () => {
    const turns = turnsOf(longTask(7), clearing);
    expect(isSound(turns)).toBe(true);
    expect(words(turns)).not.toContain("output 3");
    expect(words(turns)).toContain("step 3");
    expect(words(turns)).toContain("output 4");
    expect(words(turns)).toContain("it is event 6 of this session's log");
  });

  it("begins each turn anew when it resets", () => {
    const first = [created(), said("secret one"), requested("r1", 2), answered("hm"), ended("r1", "end_turn"), idled()];
    const turns = turnsOf(stored([...first, said("two")]), reset);
    expect(words(turns)).not.toContain("secret one");
    expect(words(turns)).toContain("two");
    expect(isSound(turns)).toBe(true);
    const waiting = [created(), said("go"), requested("r1", 2), used("c1", "write", "ask"), ended("r1", "tool_use")];
    const asked = [...waiting, idled("requires_action", ["c1"]), result("c1", "written")];
    expect(words(turnsOf(stored(asked), reset))).toContain("go");
  });

  it("puts a summary in place of what it stands for, keeps the user's words, and full still shows all", () => {
    const log = longTask(6);
    const to = log.findLast((event) => event.type === "span.model_request_start")?.position ?? 0;
    const summary: Written = {
      type: "agent.thread_context_compacted",
      from_position: 0,
      to_position: to,
      summary: "Five done.",
    };
    const events = [...log, ...stored([summary], log.length)];
    const turns = turnsOf(events, defaultContext);
    expect(isSound(turns)).toBe(true);
    expect(turns).toHaveLength(3);
    expect(words(turns)).toContain("Five done.");
    expect(words(turns)).toContain('"count"');
    expect(words(turns)).not.toContain("output 5");
    expect(words(turns)).toContain("output 6");
    expect(turnsOf(events, { type: "full", recall: false })).toEqual(turnsOf(log, { type: "full", recall: false }));
  });

  it("asks for a summary behind the very bytes of the conversation", () => {
    const events = longTask(4);
    const options = { agent: parseAgent({ model: "demo-1" }), contextPosition: 12, maxOutputTokens: 100 };
    const plain = buildModelRequest(events, options).messages;
    const asking = buildSummaryRequest(events, options).messages;
    expect(asking.slice(0, -1)).toEqual(plain.slice(0, -1));
    expect(asking.at(-1)?.content.slice(0, -1)).toEqual(
      plain.at(-1)?.content.map(({ cache_control: _, ...block }) => block),
    );
    expect(JSON.stringify(asking.at(-1)?.content.at(-1))).toContain("Summarise it now");
  });

  it.each([defaultContext, window, clearing, { type: "full", recall: true } as const])(
    "keeps the prefix of $type byte for byte between its steps",
    (strategy) => {
      const agent = { ...parseAgent({ model: "demo-1" }), context: strategy };
      const text = (events: readonly SessionEvent[]) => {
        const { messages } = buildModelRequest(events, { agent, contextPosition: events.length, maxOutputTokens: 10 });
        return messages.map((turn) => JSON.stringify(turn).replaceAll(',"cache_control":{"type":"ephemeral"}', ""));
      };
      let breaks = 0;
      for (let n = 1; n < 20; n += 1) {
        const before = text(longTask(n));
        const after = text(longTask(n + 1));
        if (!before.every((turn, at) => after[at] === turn)) breaks += 1;
      }
      expect(breaks).toBe(strategy.type === "window" ? 8 : strategy.type === "clear_tool_results" ? 5 : 0);
    },
  );

  it("is the same for a brain that reads the log in one piece as for one that followed it", () => {
    for (const strategy of [defaultContext, window, clearing, reset]) {
      const whole = longTask(12);
      for (const at of [7, 22, 47]) {
        expect(buildTurns(whole, at, strategy)).toEqual(buildTurns(whole.slice(0, at), at, strategy));
      }
    }
  });
});

describe("the recall tool", () => {
  it("finds by type, text and position, and names wrong fields", () => {
    const events = longTask(5);
    const ask = (input: Parameters<typeof readRecallQuery>[0]) => {
      const read = readRecallQuery(input);
      if ("problem" in read) return read.problem;
      const found = events.flatMap((event) => {
        const words = recalled(event, read.query);
        return words === undefined ? [] : [{ position: event.position, type: event.type, words }];
      });
      return recallAnswer(found, false, 10_000);
    };
    expect(ask({ text: "OUTPUT 3", types: ["agent.tool_result"] })).toBe("#16 agent.tool_result\noutput 3");
    expect(ask({ types: ["user.message"] })).toBe("#1 user.message\ncount");
    expect(ask({ text: "nowhere" })).toBe("Nothing in the log matches.");
    expect(ask({ limit: 0 })).toBe("limit must be a whole number from 1 to 200");
    expect(ask({ from: "1" })).toBe("from must be a whole number from 0");
  });
});
