import { expect, test } from "vitest";
import { agentCreate, agentUpdate, configOf, configProblems, updatedConfig } from "./agent.ts";

const create = (input: object) => configOf(agentCreate.parse({ name: "a", model: "m", ...input }));
const allow = { type: "always_allow" };
const ask = { type: "always_ask" };

test("every default is written out", () => {
  expect(create({ model: "claude-sonnet-5-5" })).toEqual({
    name: "a",
    description: null,
    system: null,
    model: { id: "claude-sonnet-5-5", speed: "standard" },
    tools: [],
    mcp_servers: [],
    skills: [],
    multiagent: null,
    execution_identity: { type: "service_account" },
    metadata: {},
  });
});

test("toolsets expand: built-in ones always allow, MCP ones always ask, and a config inherits what it leaves out", () => {
  const { tools } = create({
    tools: [
      {
        type: "agent_toolset_20260401",
        default_config: { permission_policy: ask },
        configs: [
          { name: "bash", enabled: false },
          { name: "web_fetch", url_sources: { user_input: "all" } },
        ],
      },
      { type: "mcp_toolset", mcp_server_name: "github", configs: [{ name: "list", permission_policy: allow }] },
    ],
  });
  expect(tools).toEqual([
    {
      type: "agent_toolset_20260401",
      default_config: { enabled: true, permission_policy: ask },
      configs: [
        { type: "bash", name: "bash", enabled: false, permission_policy: ask },
        {
          type: "web_fetch",
          name: "web_fetch",
          enabled: true,
          permission_policy: ask,
          max_content_tokens: null,
          url_sources: { user_input: { type: "all" }, client_tool_results: null, server_tool_results: null },
        },
      ],
    },
    {
      type: "mcp_toolset",
      mcp_server_name: "github",
      default_config: { enabled: true, permission_policy: ask },
      configs: [{ name: "list", enabled: true, permission_policy: allow }],
    },
  ]);
  expect(create({ tools: [{ type: "agent_toolset_20260401" }] }).tools).toMatchObject([
    { default_config: { enabled: true, permission_policy: allow } },
  ]);
});

test("an update keeps what is absent, clears by null and empty, replaces lists, merges metadata", () => {
  const stored = create({
    description: "d",
    system: "s",
    tools: [{ type: "agent_toolset_20260401" }],
    metadata: { a: "1", b: "2" },
  });
  const update = (input: object) => updatedConfig(stored, agentUpdate.parse(input));
  expect(update({})).toEqual(stored);
  expect(update({ description: null, system: "", tools: [] })).toEqual({
    ...stored,
    description: null,
    system: null,
    tools: [],
  });
  expect(update({ metadata: { a: null, c: "3" } }).metadata).toEqual({ b: "2", c: "3" });
  expect(update({ metadata: null }).metadata).toEqual({ a: "1", b: "2" });
});

test("effort stays while the model is the same one and goes with another", () => {
  const stored = create({ model: { id: "m", effort: "high" } });
  const model = (input: object) => updatedConfig(stored, agentUpdate.parse({ model: input })).model;
  expect(stored.model).toEqual({ id: "m", effort: { type: "high" }, speed: "standard" });
  expect(model({ id: "m", speed: "fast" })).toEqual({ id: "m", effort: { type: "high" }, speed: "fast" });
  expect(model({ id: "other" })).toEqual({ id: "other", speed: "standard" });
});

test("name and model cannot be cleared", () => {
  for (const input of [{ name: "" }, { name: null }, { model: null }, { model: "" }])
    expect(agentUpdate.safeParse(input).success).toBe(false);
});

test("servers and toolsets must name each other", () => {
  const server = { type: "url", name: "github", url: "https://mcp.example/" };
  expect(configProblems(create({ mcp_servers: [server] })).map(({ field }) => field)).toEqual(["mcp_servers"]);
  expect(
    configProblems(create({ tools: [{ type: "mcp_toolset", mcp_server_name: "gitlab" }] })).map(({ field }) => field),
  ).toEqual(["tools"]);
  expect(
    configProblems(create({ mcp_servers: [server], tools: [{ type: "mcp_toolset", mcp_server_name: "github" }] })),
  ).toEqual([]);
});

test("what is not served is refused, never dropped", () => {
  for (const input of [
    { skills: [{ type: "anthropic", skill_id: "xlsx" }] },
    { multiagent: { type: "multiagent_20261001" } },
    { execution_identity: { type: "aws_role", role_arn: "arn" } },
    { mcp_servers: [{ type: "url", name: "x", url: "https://user:pass@mcp.example" }] },
  ]) {
    expect(agentCreate.safeParse({ name: "a", model: "m", ...input }).success).toBe(false);
  }
});
