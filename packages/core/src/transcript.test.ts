import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseAgent } from "./agent-config.ts";
import type { SessionEvent } from "./events.ts";
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
} from "./testing/test-log.ts";
import { buildModelRequest, buildTurns, type ModelTurn, thinksAdaptively } from "./transcript.ts";

function turnsOf(events: readonly Written[]): ModelTurn[] {
  return buildTurns(stored(events), Number.POSITIVE_INFINITY);
}

/** Turns in short: role and what each block is about. */
function short(turns: ModelTurn[]): string[] {
  return turns.map((turn) => {
    const blocks = turn.content.map((block) => block.text ?? block.tool_use_id ?? block.id ?? block.type);
    return `${turn.role}: ${blocks.join(" | ")}`;
  });
}

function golden(name: string): { events: SessionEvent[]; request: unknown } {
  return JSON.parse(readFileSync(new URL(`./testdata/${name}.json`, import.meta.url), "utf8"));
}

describe("the transcript", () => {
  it("answers parallel tool uses in one user turn, in the order of the uses", () => {
    const log = [
      created(),
      said("go"),
      requested("r1", 2),
      answered("both"),
      used("c1"),
      used("c2"),
      ended("r1", "tool_use"),
      result("c2", "second"),
      result("c1", "first"),
    ];
    expect(short(turnsOf(log))).toEqual(["user: go", "assistant: both | c1 | c2", "user: c1 | c2"]);
  });

  it("puts input that arrived meanwhile after the results, where the model really saw it", () => {
    const log = [
      created(),
      said("go"),
      requested("r1", 2),
      said("hurry"),
      used("c1"),
      ended("r1", "tool_use"),
      said("please"),
      result("c1"),
      requested("r2", 8),
      said("too late"),
      answered("done"),
      ended("r2", "end_turn"),
    ];
    expect(short(turnsOf(log))).toEqual([
      "user: go",
      "assistant: c1",
      "user: c1 | hurry | please",
      "assistant: done",
      "user: too late",
    ]);
  });

  it("fills a lost result in, before any later turn", () => {
    const log = [created(), said("go"), requested("r1", 2), used("c1"), ended("r1", "tool_use"), said("and?")];
    const turns = turnsOf(log);
    expect(short(turns)).toEqual(["user: go", "assistant: c1", "user: c1 | and?"]);
    expect(turns[2]?.content[0]).toMatchObject({ type: "tool_result", is_error: true });
  });

  it("merges user turns around a failed request and an interrupted one", () => {
    const log = [
      created(),
      said("one"),
      requested("r1", 2),
      ended("r1", "", true),
      idled(),
      said("two"),
      requested("r2", 6),
      answered("yes"),
      ended("r2", "end_turn"),
    ];
    expect(short(turnsOf(log))).toEqual(["user: one | two", "assistant: yes"]);
  });

  it("leaves a response of thinking alone out, and keeps signed thinking before a tool use", () => {
    const think: Written = { type: "agent.thinking", thinking: "hm", signature: "sig", redacted_data: "" };
    const hidden: Written = { type: "agent.thinking", thinking: "", signature: "", redacted_data: "xyz" };
    const log = [
      created(),
      said("one"),
      requested("r1", 2),
      think,
      ended("r1", "max_tokens"),
      idled(),
      said("two"),
      requested("r2", 7),
      think,
      hidden,
      used("c1"),
      ended("r2", "tool_use"),
      result("c1"),
    ];
    const turns = turnsOf(log);
    expect(short(turns)).toEqual(["user: one | two", "assistant: thinking | redacted_thinking | c1", "user: c1"]);
    expect(turns[1]?.content.slice(0, 2)).toEqual([
      { type: "thinking", thinking: "hm", signature: "sig" },
      { type: "redacted_thinking", data: "xyz" },
    ]);
  });

  it("gives a custom tool's result back as the client wrote it", () => {
    const log: Written[] = [
      created(),
      said("go"),
      requested("r1", 2),
      { id: "c1", type: "agent.custom_tool_use", name: "lookup", input: { key: 1 } },
      ended("r1", "tool_use"),
      { type: "user.custom_tool_result", custom_tool_use_id: "c1", content: [{ type: "text", text: "42" }] },
    ];
    expect(turnsOf(log)[2]?.content).toEqual([
      { type: "tool_result", tool_use_id: "c1", content: [{ type: "text", text: "42" }] },
    ]);
  });

  it("puts a system message after the user turn it came with", () => {
    const system: Written = { type: "system.message", content: [{ type: "text", text: "be brief" }] };
    expect(short(turnsOf([created(), said("go"), system, said("now")]))).toEqual([
      "user: go | now",
      "system: be brief",
    ]);
  });

  it("never sends a block without a visible character", () => {
    expect(short(turnsOf([created(), said(" ")]))).toEqual(["user: (empty message)"]);
    const log = [created(), said("go"), requested("r1", 2), used("c1"), ended("r1", "tool_use"), result("c1", "")];
    expect(turnsOf(log)[2]?.content).toEqual([{ type: "tool_result", tool_use_id: "c1" }]);
  });
});

describe("the request", () => {
  it.each(["chat", "tools"])("is byte for byte the golden one: %s", (name) => {
    const { events, request } = golden(name);
    const first = events[0];
    if (first?.type !== "session.created") throw new Error("a golden log begins with session.created");
    const options = { agent: parseAgent(first.agent), contextPosition: events.length, maxOutputTokens: 32_000 };
    expect(JSON.stringify(buildModelRequest(events, options))).toBe(JSON.stringify(request));
  });

  it("keeps its prefix when the session goes on", () => {
    const { events } = golden("tools");
    const whole = buildTurns(events, events.length);
    for (const event of events) {
      if (event.type !== "span.model_request_start") continue;
      const earlier = buildTurns(events, event.context_position);
      const { length } = earlier;
      expect(JSON.stringify(whole.slice(0, length))).toBe(JSON.stringify(earlier));
    }
  });

  it("knows which models think adaptively by their name alone", () => {
    const names = [
      "claude-opus-5-5",
      "claude-sonnet-4-6",
      "claude-opus-4-5-20251101",
      "claude-3-haiku-20240307",
      "llama",
    ];
    expect(names.map(thinksAdaptively)).toEqual([true, true, false, false, false]);
  });
});
