import { describe, expect, it } from "vitest";
import { parseAgent } from "./agent-config.ts";
import { defaultLimits, modelBackoffMs } from "./limits.ts";
import { failureEvents, type ResponseBlock, responseEvents } from "./model-response.ts";
import { created } from "./testing/test-log.ts";

const session = created();
const agent = parseAgent(session.type === "session.created" ? session.agent : {});
const usage = { input_tokens: 1, output_tokens: 2, cache_read_input_tokens: 3, cache_creation_input_tokens: 4 };

function recorded(blocks: ResponseBlock[], stopReason = "end_turn", limits = defaultLimits) {
  return responseEvents(agent, "r1", { blocks, stopReason, usage, timeToFirstTokenMs: 7 }, limits);
}

function use(id: string, name = "bash", input = {}): ResponseBlock {
  return { type: "tool_use", id, name, input };
}

describe("a response", () => {
  it("becomes thinking, messages and tool uses in order, and the end of its request", () => {
    const events = recorded(
      [
        { type: "thinking", id: "t1", thinking: "hm", signature: "s" },
        { type: "text", id: "m1", text: "a" },
        { type: "text", id: "m1", text: "b" },
        use("c1"),
      ],
      "tool_use",
    );
    expect(events).toMatchObject([
      { id: "t1", type: "agent.thinking", signature: "s" },
      { id: "m1", type: "agent.message", content: [{ text: "a" }, { text: "b" }] },
      { id: "c1", type: "agent.tool_use", evaluated_permission: "allow", evaluation: { type: "always_allow" } },
      { type: "span.model_request_end", model_request_start_id: "r1", is_error: false, model_usage: usage },
    ]);
  });

  it("loses a tool use that max_tokens cut off, and says so", () => {
    const events = recorded([use("c1"), use("c2")], "max_tokens");
    expect(events.map((event) => event.type)).toEqual(["agent.tool_use", "span.model_request_end", "session.error"]);
  });

  it("keeps a bounded number of tool uses, and says so", () => {
    const limits = { ...defaultLimits, toolUsesPerResponse: 2 };
    const events = recorded([use("c1"), use("c2"), use("c3")], "tool_use", limits);
    expect(events.filter((event) => event.type === "agent.tool_use")).toHaveLength(2);
    expect(events.at(-1)).toMatchObject({ error: { type: "tool_use_limit_reached_error" } });
  });

  it.each([
    ["write", {}, { type: "agent.tool_use", evaluated_permission: "ask", evaluation: { type: "always_ask" } }],
    ["grep", {}, { type: "agent.tool_use", evaluated_permission: "deny" }],
    ["fly", {}, { type: "agent.tool_use", evaluated_permission: "deny" }],
    ["lookup", {}, { type: "agent.custom_tool_use", name: "lookup" }],
    [
      "mcp__tickets__list",
      {},
      { type: "agent.mcp_tool_use", mcp_server_name: "tickets", name: "list", evaluated_permission: "ask" },
    ],
    ["bash", { _malformed_json: "{" }, { type: "agent.tool_use", evaluated_permission: "deny" }],
  ])("judges %s %j", (name, input, expected) => {
    expect(recorded([use("c1", name, input)])[0]).toMatchObject(expected);
  });

  it("maps the policy auto to ask", () => {
    const auto = parseAgent({
      tools: [{ type: "agent_toolset_20260401", default_config: { permission_policy: { type: "auto" } } }],
    });
    const events = responseEvents(
      auto,
      "r1",
      { blocks: [use("c1")], stopReason: "tool_use", usage, timeToFirstTokenMs: 1 },
      defaultLimits,
    );
    expect(events[0]).toMatchObject({ evaluated_permission: "ask", evaluation: { type: "auto" } });
  });
});

describe("a failure", () => {
  it("announces the next try of a transient error, honouring what the provider asked for", () => {
    const events = failureEvents("r1", { kind: "rateLimited", message: "slow", retryAfterMs: 3_000 }, 1, defaultLimits);
    expect(events).toMatchObject([
      { type: "span.model_request_end", is_error: true },
      { type: "session.error", error: { type: "model_rate_limited_error", retry_status: { type: "retrying" } } },
      { type: "session.status_rescheduled", attempt: 1, retry_after_ms: 3_000 },
    ]);
  });

  it.each([
    ["overloaded", defaultLimits.modelAttempts],
    ["refused", 1],
    ["billing", 1],
  ] as const)("gives up after %s, try %i", (kind, attempt) => {
    const events = failureEvents("r1", { kind, message: "no" }, attempt, defaultLimits);
    expect(events).toMatchObject([{}, { error: { retry_status: { type: "exhausted" } } }]);
    expect(events).toHaveLength(2);
  });

  it("doubles the pause up to a maximum", () => {
    const limits = { ...defaultLimits, modelBackoffMs: 100, modelBackoffMaxMs: 1_000 };
    expect([1, 2, 3, 9].map((attempt) => modelBackoffMs(limits, attempt))).toEqual([100, 200, 400, 1_000]);
    expect(modelBackoffMs(limits, 1, 60_000)).toBe(1_000);
  });
});
