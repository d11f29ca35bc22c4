/** What the brain needs of a session's frozen configuration, read leniently: a stored session must always fold. */
import { type ContextStrategy, contextOf, defaultContext } from "./context/strategy.ts";
import type { Json, JsonObject } from "./events.ts";

/** How a tool use is judged before it may run. */
export type PermissionPolicy = "always_allow" | "always_ask" | "auto";

/** What one tool, or all tools of a set, are set to. */
export interface ToolSetting {
  readonly enabled: boolean;
  readonly policy: PermissionPolicy;
  /** What else its configuration says, for instance `allowed_domains` of web_fetch; absent when nothing. */
  readonly options?: JsonObject;
}

/** A set of tools with defaults and exceptions by tool name. */
export interface Toolset extends ToolSetting {
  readonly exceptions: ReadonlyMap<string, ToolSetting>;
}

/** A tool that the client runs. */
export interface CustomTool {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: JsonObject;
}

/** How hard the model shall try; absent means the model's default. */
export type Effort = "low" | "medium" | "high" | "xhigh" | "max";

/** What the brain needs of an agent. */
export interface AgentConfig {
  readonly model: string;
  readonly effort?: Effort;
  readonly system: string;
  /** The built-in toolset; absent when the agent has none. */
  readonly toolset?: Toolset;
  readonly mcp: ReadonlyMap<string, Toolset>;
  readonly custom: readonly CustomTool[];
  /** Which part of the log the model is shown; a setting of the session, not of the agent's snapshot. */
  readonly context: ContextStrategy;
}

const efforts: readonly string[] = ["low", "medium", "high", "xhigh", "max"] satisfies Effort[];

/** Reads the agent snapshot of `session.created` or `session.updated`. Parts it does not know are passed over. */
export function parseAgent(snapshot: Json): AgentConfig {
  const agent = objectOf(snapshot);
  const model = objectOf(agent.model ?? null);
  const effort = stringOf(objectOf(model.effort ?? null).type) || stringOf(model.effort);
  const tools = listOf(agent.tools).map(objectOf);
  const toolset = tools.find((tool) => stringOf(tool.type).startsWith("agent_toolset"));
  const mcp = tools.filter((tool) => tool.type === "mcp_toolset");
  return {
    model: stringOf(agent.model) || stringOf(model.id),
    ...(isEffort(effort) ? { effort } : {}),
    system: stringOf(agent.system),
    ...(toolset === undefined ? {} : { toolset: parseToolset(toolset, "always_allow") }),
    mcp: new Map(mcp.map((set) => [stringOf(set.mcp_server_name), parseToolset(set, "always_ask")])),
    custom: tools.filter((tool) => tool.type === "custom").map(parseCustomTool),
    context: defaultContext,
  };
}

/** The agent as a session with these settings runs it. */
export function withSettings(agent: AgentConfig, settings: Readonly<Record<string, string>>): AgentConfig {
  return { ...agent, context: contextOf(settings) };
}

function parseToolset(set: JsonObject, policy: PermissionPolicy): Toolset {
  const base = parseSetting(objectOf(set.default_config ?? null), { enabled: true, policy });
  const configs = listOf(set.configs).map(objectOf);
  return {
    ...base,
    exceptions: new Map(configs.map((config) => [stringOf(config.name), parseSetting(config, base)])),
  };
}

function parseSetting(config: JsonObject, fallback: ToolSetting): ToolSetting {
  const { name: _, type: __, enabled, permission_policy, ...options } = config;
  const policy = stringOf(objectOf(permission_policy ?? null).type);
  return {
    ...(Object.keys(options).length === 0 ? {} : { options }),
    enabled: typeof enabled === "boolean" ? enabled : fallback.enabled,
    policy: policy === "always_allow" || policy === "always_ask" || policy === "auto" ? policy : fallback.policy,
  };
}

function parseCustomTool(tool: JsonObject): CustomTool {
  const inputSchema = objectOf(tool.input_schema ?? null);
  return {
    name: stringOf(tool.name),
    description: stringOf(tool.description),
    inputSchema: inputSchema.type === "object" ? inputSchema : { ...inputSchema, type: "object" },
  };
}

function isEffort(value: string): value is Effort {
  return efforts.includes(value);
}

/** The value when it is a JSON object, else an empty one. */
export function objectOf(value: Json | undefined): JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/** The value when it is a JSON array, else an empty one. */
export function listOf(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

/** The value when it is a string, else the empty one. */
export function stringOf(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}
