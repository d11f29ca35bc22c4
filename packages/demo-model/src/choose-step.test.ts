import { expect, test } from "vitest";
import { chooseStep } from "./choose-step.ts";
import { parseScenarios } from "./load-scenarios.ts";
import { parseCreateRequest } from "./request-schema.ts";
import type { ScenarioInput } from "./scenario-schema.ts";
import { fill } from "./template.ts";

const bash = (command: string) => ({ tool_use: { name: "bash", input: { command } } });

const JOB: ScenarioInput = {
  name: "job",
  priority: 5,
  match: { last_user_text: "do (?<thing>\\w+)" },
  rules: [{ when: { is_error: true, tool_result_matches: "lost" }, goto: "repair", limit: 2 }],
  steps: [
    { label: "start", emit: [bash("{{match.thing}}")], capture: { found: "id=(\\w+)" } },
    { label: "each", repeat: 3, emit: [bash("{{i}}")] },
    { label: "end", emit: [{ text: "{{var.found|none}} {{tool_result}}" }] },
    {
      label: "repair",
      emit: [bash("repair")],
      rules: [{ when: { tool_result_matches: "had happened" }, goto: "each", advance: true }],
      next: "each",
    },
  ],
};
const CHAT: ScenarioInput = { name: "chat", match: { default: true }, steps: [{ emit: [{ text: "hi" }] }] };
const scenarios = parseScenarios([CHAT, JOB]);

test("the step is the number of answers since the last plain user text", () => {
  expect(at("do it")).toBe("start");
  expect(at("do it", "ok")).toBe("each 1");
  expect(at("do it", "ok", "ok")).toBe("each 2");
  expect(at("do it", "ok", "ok", "ok", "ok")).toBe("end");
});

test("an earlier task does not count", () => {
  const messages = [
    ...conversation("do it", "ok", "ok"),
    { role: "assistant", content: "stop" },
    { role: "user", content: "do more" },
  ];
  expect(choose(messages)?.step?.label).toBe("start");
  expect(choose(messages)?.values.match).toEqual({ thing: "more" });
});

test("an unmatched text gets the default, and nothing without one", () => {
  expect(choose([{ role: "user", content: "hello" }])?.scenario.name).toBe("chat");
  expect(chooseStep(parseScenarios([JOB]), requestOf([{ role: "user", content: "hello" }]))).toBeUndefined();
});

test("a lost result jumps, keeps the repetition's number, and comes back to it", () => {
  expect(at("do it", "ok", "ok", "!lost")).toBe("repair 2");
  expect(at("do it", "ok", "ok", "!lost", "ok")).toBe("each 2");
  expect(at("do it", "ok", "ok", "!lost", "it had happened")).toBe("each 3");
  expect(at("do it", "ok", "ok", "ok", "!lost", "it had happened")).toBe("end");
});

test("the rules of the scenario come before those of the step", () => {
  expect(at("do it", "!lost", "!lost, though it had happened")).toBe("repair 1");
});

test("a rule fires no more often than its limit", () => {
  expect(at("do it", "!lost", "!lost")).toBe("repair 1");
  expect(at("do it", "!lost", "!lost", "!lost")).toBe("each 1");
});

test("the same words without an error do not jump", () => {
  expect(at("do it", "lost")).toBe("each 1");
});

test("captures and the newest result reach the templates", () => {
  const choice = choose(conversation("do it", "id=abc", "1", "2", "3"));
  expect(choice && fill("{{var.found|none}} {{tool_result}} {{match.thing}}", choice.values)).toBe("abc 3 it");
});

test("text beside a tool result goes on with the task, unless it interrupts or asks for another", () => {
  const beside = (result: string, text: string) => {
    const messages = conversation("do it", result);
    const last = messages.at(-1);
    return [...messages.slice(0, -1), { role: "user", content: [...(last?.content ?? []), { type: "text", text }] }];
  };
  expect(choose(beside("ok", "thanks"))?.step?.label).toBe("each");
  expect(choose(beside("ok", "do that"))?.values.match).toEqual({ thing: "that" });
  expect(choose(beside("!interrupted", "never mind"))?.scenario.name).toBe("chat");
});

test("a conversation beyond the script has no step", () => {
  const short = parseScenarios([
    {
      ...CHAT,
      steps: [
        { emit: [bash("x")], next: "end" },
        { label: "end", emit: [{ text: "x" }] },
      ],
    },
  ]);
  expect(chooseStep(short, requestOf(conversation("a", "ok", "ok")))?.step).toBeUndefined();
});

function at(text: string, ...results: string[]): string {
  const choice = choose(conversation(text, ...results));
  const label = choice?.step?.label ?? "";
  return ["each", "repair"].includes(label) ? `${label} ${choice?.values.i}` : label;
}

function choose(messages: object[]) {
  return chooseStep(scenarios, requestOf(messages));
}

function requestOf(messages: object[]) {
  return parseCreateRequest({ model: "m", max_tokens: 1, messages });
}

/** One user text and, for each result, a tool use and its answer; `!` marks an error. */
function conversation(text: string, ...results: string[]): { role: string; content: object[] }[] {
  const turns = results.flatMap((result, index) => [
    { role: "assistant", content: [{ type: "tool_use", id: `t${index}`, name: "bash", input: {} }] },
    {
      role: "user",
      content: [
        {
          type: "tool_result",
          tool_use_id: `t${index}`,
          content: result.replace(/^!/, ""),
          is_error: result.startsWith("!"),
        },
      ],
    },
  ]);
  return [{ role: "user", content: [{ type: "text", text }] }, ...turns];
}
