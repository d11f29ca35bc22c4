/**
 * Tools of MCP servers as the log has them: each server's latest list below a position. What a request shows depends on
 * the log alone, so every brain builds the same one.
 */
import { type AgentConfig, listOf, objectOf, stringOf, type Toolset } from "./agent-config.ts";
import { isUnknownEvent, type Json, type SessionEvent, type UnknownEvent } from "./events.ts";
import type { ToolDefinition } from "./tool-definitions.ts";
import { mcpToolName } from "./tool-policy.ts";

/** The API's longest tool name; a longer one cannot be shown. */
const maxNameLength = 128;

/** The latest list of each server below `contextPosition`, by the server's name, as `session.mcp_tools_listed` has it. */
export function listedMcpTools(
  events: readonly (SessionEvent | UnknownEvent)[],
  contextPosition: number,
): ReadonlyMap<string, Json> {
  const lists = new Map<string, Json>();
  for (const event of events) {
    if (event.position >= contextPosition) break;
    if (!isUnknownEvent(event) && event.type === "session.mcp_tools_listed")
      lists.set(event.mcp_server_name, event.tools);
  }
  return lists;
}

/** The tools that the model is shown, by server in the order of the agent's configuration; disabled ones are left out. */
export function mcpToolDefinitions(agent: AgentConfig, lists: ReadonlyMap<string, Json>): ToolDefinition[] {
  return [...agent.mcp].flatMap(([server, set]) =>
    listOf(lists.get(server)).flatMap((listed) => {
      const tool = objectOf(listed);
      const name = mcpToolName(server, stringOf(tool.name));
      if (stringOf(tool.name) === "" || name.length > maxNameLength || !isEnabled(set, stringOf(tool.name))) return [];
      const input_schema = { ...objectOf(tool.input_schema), type: "object" };
      return [{ name, description: stringOf(tool.description), input_schema }];
    }),
  );
}

function isEnabled(set: Toolset, name: string): boolean {
  return (set.exceptions.get(name) ?? set).enabled;
}
