/**
 * Tools of an agent: request shape → the expanded shape of answers, where every default is written out. Defaults:
 * tools are enabled; the built-in toolset always allows, MCP toolsets always ask.
 */
import { z } from "zod";
import type {
  AgentTool,
  AgentToolConfig,
  McpToolset,
  PermissionPolicy,
  ToolsetDefault,
  WebFetchSources,
} from "../sdk-types.ts";
import { text } from "./common.ts";

const policy = z.object({
  type: z.enum(["always_allow", "always_ask", "auto"], { error: "must be one of always_allow, always_ask, auto" }),
});
const setting = { enabled: z.boolean().nullish(), permission_policy: policy.nullish() };
const defaultConfig = z.object(setting).nullish();

const domains = z.array(text(1, 253)).min(1, "must not be empty").max(64, "must have at most 64 domains").optional();
const filterTypes = "must be all, none, or {type: only | except, tools}";
const toolReference = z.object({ type: z.literal("tool_reference"), name: text(1, 128) });
const toolFilter = z.union(
  [
    z.enum(["all", "none"]),
    z.object({ type: z.enum(["all", "none"]) }),
    z.object({ type: z.enum(["only", "except"]), tools: z.array(toolReference).min(1).max(128) }),
  ],
  { error: filterTypes },
);
const userInput = z.union([z.enum(["all", "none"]), z.object({ type: z.enum(["all", "none"]) })], {
  error: "must be all or none",
});
const urlSources = z
  .object({
    user_input: userInput.nullish(),
    client_tool_results: toolFilter.nullish(),
    server_tool_results: toolFilter.nullish(),
  })
  .nullish();

const plainConfig = (name: "bash" | "read" | "write" | "edit" | "glob" | "grep") =>
  z.object({ name: z.literal(name), type: z.literal(name).optional(), ...setting });

const webFetch = z.object({
  name: z.literal("web_fetch"),
  type: z.literal("web_fetch").optional(),
  ...setting,
  allowed_domains: domains,
  blocked_domains: domains,
  max_content_tokens: z.int("must be a whole number").min(1, "must be at least 1").nullish(),
  url_sources: urlSources,
});

const webSearch = z.object({
  name: z.literal("web_search"),
  type: z.literal("web_search").optional(),
  ...setting,
  allowed_domains: domains,
  blocked_domains: domains,
  user_location: z
    .object({
      type: z.literal("approximate"),
      city: text(1, 255).nullish(),
      region: text(1, 255).nullish(),
      country: z
        .string()
        .regex(/^[A-Za-z]{2}$/, "must be a two-letter country code")
        .nullish(),
      timezone: text(1, 255).nullish(),
    })
    .nullish(),
});

const builtInName = "must be one of bash, read, write, edit, glob, grep, web_fetch, web_search";
const builtInConfig = z
  .discriminatedUnion(
    "name",
    [
      plainConfig("bash"),
      plainConfig("read"),
      plainConfig("write"),
      plainConfig("edit"),
      plainConfig("glob"),
      plainConfig("grep"),
      webFetch,
      webSearch,
    ],
    { error: builtInName },
  )
  .superRefine((config, context) => {
    if (config.name !== "web_fetch" && config.name !== "web_search") return;
    if (config.allowed_domains && config.blocked_domains) {
      context.addIssue({ code: "custom", path: ["blocked_domains"], message: "must not stand beside allowed_domains" });
    }
  });

const toolset = z.object({
  type: z.literal("agent_toolset_20260401"),
  default_config: defaultConfig,
  configs: z.array(builtInConfig).max(8, "must have at most 8 entries").optional(),
});

const mcpToolset = z.object({
  type: z.literal("mcp_toolset"),
  mcp_server_name: text(1, 255),
  default_config: defaultConfig,
  configs: z
    .array(z.object({ name: text(1, 128), ...setting }))
    .max(256, "must have at most 256 entries")
    .optional(),
});

const customTool = z.object({
  type: z.literal("custom"),
  name: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/, "must have 1 to 128 of A-Z a-z 0-9 _ -"),
  description: text(0, 16_384),
  input_schema: z.looseObject({ type: z.literal("object", { error: "must be `object`" }) }),
});

const MAX_TOOLS = 256;

/** The `tools` of an agent. */
export const tools = z
  .array(
    z.discriminatedUnion("type", [toolset, mcpToolset, customTool], {
      error: "must be one of agent_toolset_20260401, mcp_toolset, custom",
    }),
  )
  .max(MAX_TOOLS, `must have at most ${MAX_TOOLS} tools`)
  .superRefine((list, context) => {
    noTwice(
      list.flatMap((tool) => (tool.type === "custom" ? [tool.name] : [])),
      "custom tool names",
      context,
    );
    noTwice(
      list.flatMap((tool) => (tool.type === "mcp_toolset" ? [tool.mcp_server_name] : [])),
      "mcp_toolsets",
      context,
    );
    if (list.filter((tool) => tool.type === "agent_toolset_20260401").length > 1) {
      context.addIssue({ code: "custom", message: "must have at most one agent_toolset_20260401" });
    }
  });

/** Tools as they come in. */
export type ToolsInput = z.infer<typeof tools>;

function noTwice(names: readonly string[], what: string, context: z.RefinementCtx): void {
  if (new Set(names).size !== names.length) context.addIssue({ code: "custom", message: `${what} must be unique` });
}

/** The tools with every default written out. */
export function expandTools(input: ToolsInput): AgentTool[] {
  return input.map((tool) => {
    if (tool.type === "custom") return { ...tool, input_schema: { ...tool.input_schema } };
    if (tool.type === "mcp_toolset") return expandMcp(tool);
    const fallback = settingOf(tool.default_config ?? {}, {
      enabled: true,
      permission_policy: { type: "always_allow" },
    });
    return {
      type: tool.type,
      default_config: fallback,
      configs: (tool.configs ?? []).map((config) => expandConfig(config, fallback)),
    };
  });
}

function expandMcp(tool: z.infer<typeof mcpToolset>): McpToolset {
  const fallback = settingOf(tool.default_config ?? {}, { enabled: true, permission_policy: { type: "always_ask" } });
  return {
    type: tool.type,
    mcp_server_name: tool.mcp_server_name,
    default_config: fallback,
    configs: (tool.configs ?? []).map((config) => ({ name: config.name, ...settingOf(config, fallback) })),
  };
}

type Setting = { enabled?: boolean | null | undefined; permission_policy?: PermissionPolicy | null | undefined };

function settingOf(given: Setting, fallback: ToolsetDefault): ToolsetDefault {
  return {
    enabled: given.enabled ?? fallback.enabled,
    permission_policy: given.permission_policy ?? fallback.permission_policy,
  };
}

function expandConfig(config: z.infer<typeof builtInConfig>, fallback: ToolsetDefault): AgentToolConfig {
  const common = settingOf(config, fallback);
  if (config.name === "web_fetch") {
    return {
      type: config.name,
      name: config.name,
      ...common,
      ...domainsOf(config),
      max_content_tokens: config.max_content_tokens ?? null,
      url_sources: expandSources(config.url_sources),
    };
  }
  if (config.name === "web_search") {
    return {
      type: config.name,
      name: config.name,
      ...common,
      ...domainsOf(config),
      user_location: config.user_location ?? null,
    };
  }
  return { type: config.name, name: config.name, ...common } as AgentToolConfig; // the union's six plain members differ by name only
}

function domainsOf(config: { allowed_domains?: string[] | undefined; blocked_domains?: string[] | undefined }) {
  return {
    ...(config.allowed_domains ? { allowed_domains: config.allowed_domains } : {}),
    ...(config.blocked_domains ? { blocked_domains: config.blocked_domains } : {}),
  };
}

function expandSources(sources: z.infer<typeof urlSources>): WebFetchSources | null {
  if (!sources) return null;
  return {
    user_input: typeof sources.user_input === "string" ? { type: sources.user_input } : (sources.user_input ?? null),
    client_tool_results: filterOf(sources.client_tool_results),
    server_tool_results: filterOf(sources.server_tool_results),
  };
}

function filterOf(filter: z.infer<typeof toolFilter> | null | undefined) {
  return typeof filter === "string" ? { type: filter } : (filter ?? null);
}
