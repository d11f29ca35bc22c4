/**
 * The judgement of a tool use, made by the server when the model's response arrives and stored in the event. Rules of
 * the public API: built-in tools default to enabled and `always_allow`, MCP tools to `always_ask`, custom tools have no
 * policy, and a tool that is not enabled is denied before any policy.
 */
import type { AgentConfig, PermissionPolicy, Toolset } from "./agent-config.ts";
import type { EvaluatedPermission, JsonObject, NewEvent } from "./events.ts";
import { isHandTool, isServerTool, recallTool } from "./tool-definitions.ts";

/** The judgement of one tool use. `policy` is absent when it was refused before any policy. */
export type ToolVerdict =
  | { readonly kind: "custom" }
  | { readonly kind: "agent"; readonly permission: EvaluatedPermission; readonly policy?: PermissionPolicy }
  | {
      readonly kind: "mcp";
      readonly server: string;
      readonly tool: string;
      readonly permission: EvaluatedPermission;
      readonly policy?: PermissionPolicy;
    };

/** A tool use as the model wrote it. */
export interface ModelToolUse {
  /** Id of the event it becomes. */
  readonly id: string;
  readonly name: string;
  readonly input: JsonObject;
}

/** Field that holds the model's own text where that was not a JSON object; such a use is always denied. */
export const malformedInputField = "_malformed_json";

const mcpPrefix = "mcp__";

/**
 * The name under which the model sees a tool of an MCP server. Servers may be named freely, tools of the Messages API
 * only with `A-Z a-z 0-9 _ -`.
 */
export function mcpToolName(server: string, tool: string): string {
  return `${mcpPrefix}${server.replaceAll(/[^A-Za-z0-9_-]/g, "_")}__${tool}`;
}

/** Judges a tool use. `auto` asks, because there is no classifier yet that could tell. */
export function judgeTool(agent: AgentConfig, name: string): ToolVerdict {
  const set = agent.toolset;
  const isCustom = agent.custom.some((tool) => tool.name === name);
  // Results of MCP servers may be longer than what is shown: the model is told to read on with it.
  const mayRecall = agent.context.recall || (agent.mcp.size > 0 && !isCustom);
  if (name === recallTool.name && mayRecall) return { kind: "agent", permission: "allow" };
  const isBuiltIn = isHandTool(name) || (isServerTool(name) && name !== recallTool.name);
  if (set !== undefined && isBuiltIn && settingOf(set, name).enabled) {
    return { kind: "agent", ...permissionOf(set, name) };
  }
  if (isCustom) return { kind: "custom" };
  for (const [server, mcp] of agent.mcp) {
    const prefix = mcpToolName(server, "");
    if (!name.startsWith(prefix)) continue;
    const tool = name.slice(prefix.length);
    return { kind: "mcp", server, tool, ...permissionOf(mcp, tool) };
  }
  return { kind: "agent", permission: "deny" };
}

/** The event of a tool use, with its judgement. */
export function toolUseEvent(
  agent: AgentConfig,
  use: ModelToolUse,
): NewEvent<"agent.tool_use" | "agent.mcp_tool_use" | "agent.custom_tool_use"> {
  const { id, name, input } = use;
  const verdict: ToolVerdict =
    malformedInputField in input ? { kind: "agent", permission: "deny" } : judgeTool(agent, name);
  if (verdict.kind === "custom") return { id, type: "agent.custom_tool_use", name, input };
  const judgement = {
    evaluated_permission: verdict.permission,
    ...(verdict.policy === undefined ? {} : { evaluation: { type: verdict.policy } }),
  };
  if (verdict.kind === "agent") return { id, type: "agent.tool_use", name, input, ...judgement };
  return {
    id,
    type: "agent.mcp_tool_use",
    mcp_server_name: verdict.server,
    name: verdict.tool,
    input,
    ...judgement,
  };
}

function settingOf(set: Toolset, name: string) {
  return set.exceptions.get(name) ?? set;
}

function permissionOf(set: Toolset, name: string): { permission: EvaluatedPermission; policy?: PermissionPolicy } {
  const { enabled, policy } = settingOf(set, name);
  if (!enabled) return { permission: "deny" };
  return { permission: policy === "always_allow" ? "allow" : "ask", policy };
}
