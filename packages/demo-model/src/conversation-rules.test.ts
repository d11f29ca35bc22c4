import { expect, test } from "vitest";
import { ApiError } from "./api-error.ts";
import { checkConversation } from "./conversation-rules.ts";
import { parseCountRequest } from "./request-schema.ts";
import { signThinking } from "./signature.ts";
import { toolUseId } from "./tool-id.ts";

const user = { role: "user", content: "Go" };
const use = (...ids: string[]) => ({
  role: "assistant",
  content: ids.map((id) => ({ type: "tool_use", id, name: "bash", input: {} })),
});
const result = (...ids: string[]) => ({
  role: "user",
  content: ids.map((id) => ({ type: "tool_result", tool_use_id: id, content: "ok" })),
});
const text = { type: "text", text: "And now?" };

test("a conversation with every tool use answered passes", () => {
  expect(problem([user, use("a", "b"), result("b", "a"), { role: "assistant", content: "Done" }, user])).toBe("");
});

test("text after the results is allowed", () => {
  expect(problem([user, use("a"), { role: "user", content: [...result("a").content, text] }])).toBe("");
});

const DANGLING =
  "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: a. Each `tool_use` block must have a corresponding `tool_result` block in the next message.";

test.each<[string, object[], string]>([
  ["an unanswered tool use at the end", [user, use("a"), user], DANGLING],
  ["one of two answered", [user, use("b", "a"), result("b")], DANGLING],
  [
    "an answer that comes after text",
    [user, use("a"), { role: "user", content: [text, ...result("a").content] }],
    DANGLING,
  ],
  ["an answer two turns later", [user, use("a"), user, { role: "assistant", content: "x" }, result("a")], DANGLING],
  [
    "an answer to nothing",
    [user, { role: "assistant", content: "x" }, result("a")],
    "messages.2.content.0: unexpected `tool_use_id`",
  ],
  [
    "two answers to one use",
    [user, use("a"), result("a", "a")],
    "messages.2.content.1: each tool_use must have a single result",
  ],
  [
    "an id used twice",
    [user, use("a"), result("a"), use("a"), result("a")],
    "messages.3.content.0: `tool_use` ids must be unique",
  ],
  ["two user turns in a row", [user, user], "messages: roles must alternate"],
  ["an assistant first", [{ role: "assistant", content: "x" }], 'messages: first message must use the "user" role'],
  [
    "an assistant last",
    [user, { role: "assistant", content: "x" }],
    "This model does not support assistant message prefill",
  ],
  [
    "an empty text",
    [{ role: "user", content: [{ type: "text", text: "" }] }],
    "messages: text content blocks must be non-empty",
  ],
  [
    "a blank text",
    [{ role: "user", content: " \n" }],
    "messages: text content blocks must contain non-whitespace text",
  ],
  ["no content", [{ role: "user", content: [] }], "messages.0: all messages must have non-empty content"],
  [
    "a tool use by the user",
    [{ role: "user", content: use("a").content }],
    "messages.0.content.0: `tool_use` blocks can only be in",
  ],
  [
    "a tool nobody defined",
    [user, { role: "assistant", content: [{ type: "tool_use", id: "a", name: "fly", input: {} }] }, result("a")],
    "messages.1.content.0.tool_use.name: Tool 'fly' not found",
  ],
])("refuses %s", (_name, messages, expected) => {
  expect(problem(messages)).toContain(expected);
});

test("thinking must come back unmodified, and may come back omitted", () => {
  const turn = (thinking: string, signature: string) => [
    user,
    {
      role: "assistant",
      content: [
        { type: "thinking", thinking, signature },
        { type: "text", text: "x" },
      ],
    },
    user,
  ];
  expect(problem(turn("I think", signThinking("I think")))).toBe("");
  expect(problem(turn("", signThinking("I think")))).toBe("");
  expect(problem(turn("I think not", signThinking("I think")))).toContain("Invalid `signature` in `thinking` block");
  expect(problem(turn("I think", "c2lnbmF0dXJl"))).toContain("messages.1.content.0: Invalid `signature`");
});

test("thinking that was dropped before a tool use is missed while thinking is on", () => {
  const messages = [user, use(toolUseId("x", 1, true)), result(toolUseId("x", 1, true))];
  expect(problem(messages)).toBe("");
  expect(problem(messages, { thinking: { type: "adaptive" } })).toContain("Expected `thinking` or `redacted_thinking`");
  const without = [user, use(toolUseId("x", 1, false)), result(toolUseId("x", 1, false))];
  expect(problem(without, { thinking: { type: "adaptive" } })).toBe("");
});

test("at most four cache breakpoints", () => {
  const marked = { type: "text", text: "x", cache_control: { type: "ephemeral" } };
  const content = [marked, marked, marked];
  expect(problem([{ role: "user", content }], { system: [marked] })).toBe("");
  expect(problem([{ role: "user", content }], { system: [marked, marked] })).toContain("Found 5.");
});

function problem(messages: object[], rest: object = {}): string {
  const tools = [{ name: "bash", input_schema: { type: "object" } }];
  try {
    const request = parseCountRequest({ model: "m", messages, tools, ...rest });
    checkConversation(request, { extraToolNames: new Set() });
    return "";
  } catch (error) {
    if (error instanceof ApiError) return error.message;
    throw error;
  }
}
