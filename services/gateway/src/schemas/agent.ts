/** Requests about agents, and the configuration that is stored: the public shape without id, version and times. */
import { z } from "zod";
import type { Agent, ModelConfig } from "../sdk-types.ts";
import { applyPatch, httpUrl, metadata, metadataPatch, text } from "./common.ts";
import { expandTools, tools } from "./tools.ts";

/** What is stored of an agent; the answer's shape without id, type, version and times. */
export type AgentConfig = Omit<Agent, "id" | "type" | "version" | "created_at" | "updated_at" | "archived_at">;

const effortName = z.enum(["low", "medium", "high", "xhigh", "max"], {
  error: "must be one of low, medium, high, xhigh, max",
});
const modelId = text(1, 256);
const model = z.union([
  modelId,
  z.object({
    id: modelId,
    effort: z.union([effortName, z.object({ type: effortName })]).nullish(),
    speed: z.enum(["standard", "fast"], { error: "must be standard or fast" }).nullish(),
    inference_geo: text(1, 64).nullish(),
  }),
]);

const mcpServers = z
  .array(z.object({ type: z.literal("url"), name: text(1, 255), url: httpUrl }))
  .max(20, "must have at most 20 servers")
  .refine((list) => new Set(list.map((server) => server.name)).size === list.length, "names must be unique");

const empty = (what: string) => z.array(z.unknown()).max(0, `${what} are not served yet; leave the list empty`);
const skills = empty("skills");
const multiagent = z.null({ error: "multi-agent configurations are not served yet" });
const executionIdentity = z.object({
  type: z.literal("service_account", { error: "must be service_account; other identities are not served" }),
});

const system = text(0, 100_000);
const description = text(0, 2048);

/** Body of agents.create. */
export const agentCreate = z.object({
  name: text(1, 256),
  model,
  description: description.nullish(),
  system: system.nullish(),
  tools: tools.nullish(),
  mcp_servers: mcpServers.nullish(),
  skills: skills.nullish(),
  metadata: metadata.nullish(),
  multiagent: multiagent.nullish(),
  execution_identity: executionIdentity.nullish(),
});

/** Body of agents.update: absent keeps, null or empty clears where it can be cleared. */
export const agentUpdate = agentCreate.partial().extend({
  metadata: metadataPatch.nullish(),
  version: z.int("must be a whole number").min(1, "must be at least 1").max(0xffff_ffff).optional(),
});

/** The parts of an agent that a session may override; each replaces the agent's own. */
export const agentOverrides = z.object({
  model: model.optional(),
  system: system.nullish(),
  tools: tools.optional(),
  mcp_servers: mcpServers.optional(),
  skills: skills.optional(),
});

/** The stored configuration of a new agent. */
export function configOf(input: z.infer<typeof agentCreate>): AgentConfig {
  return {
    name: input.name,
    description: input.description || null,
    system: input.system || null,
    model: expandModel(input.model),
    tools: expandTools(input.tools ?? []),
    mcp_servers: input.mcp_servers ?? [],
    skills: [],
    multiagent: null,
    execution_identity: { type: "service_account" },
    metadata: input.metadata ?? {},
  };
}

/** The configuration after an update. */
export function updatedConfig(stored: AgentConfig, input: z.infer<typeof agentUpdate>): AgentConfig {
  return {
    ...overridden(stored, input),
    ...(input.name === undefined ? {} : { name: input.name }),
    ...(input.description === undefined ? {} : { description: input.description || null }),
    ...(input.model === undefined ? {} : { model: keepEffort(stored.model, expandModel(input.model)) }),
    metadata: applyPatch(stored.metadata, input.metadata),
  };
}

type Overrides = {
  readonly model?: z.infer<typeof model> | undefined;
  readonly system?: string | null | undefined;
  readonly tools?: z.infer<typeof tools> | null | undefined;
  readonly mcp_servers?: z.infer<typeof mcpServers> | null | undefined;
};

/** The configuration with some parts replaced whole. */
export function overridden(stored: AgentConfig, input: Overrides): AgentConfig {
  return {
    ...stored,
    ...(input.model === undefined ? {} : { model: expandModel(input.model) }),
    ...(input.system === undefined ? {} : { system: input.system || null }),
    ...(input.tools === undefined ? {} : { tools: expandTools(input.tools ?? []) }),
    ...(input.mcp_servers === undefined ? {} : { mcp_servers: input.mcp_servers ?? [] }),
  };
}

/** Rules that hold between fields of a whole configuration; one entry per problem. */
export function configProblems(config: AgentConfig): { field: string; description: string }[] {
  const used = new Set(config.tools.flatMap((tool) => (tool.type === "mcp_toolset" ? [tool.mcp_server_name] : [])));
  const known = new Set(config.mcp_servers.map((server) => server.name));
  const pairs = Object.keys(config.metadata).length;
  return [
    ...[...known]
      .filter((name) => !used.has(name))
      .map((name) => ({ field: "mcp_servers", description: `${name} must be used by an mcp_toolset in tools` })),
    ...[...used]
      .filter((name) => !known.has(name))
      .map((name) => ({ field: "tools", description: `mcp_toolset ${name} must name one of mcp_servers` })),
    ...(pairs > 16 ? [{ field: "metadata", description: "must have at most 16 pairs" }] : []),
  ];
}

function expandModel(input: z.infer<typeof model>): ModelConfig {
  if (typeof input === "string") return { id: input, speed: "standard" };
  const effort = typeof input.effort === "string" ? { type: input.effort } : input.effort;
  return {
    id: input.id,
    speed: input.speed ?? "standard",
    ...(effort ? { effort } : {}),
    ...(input.inference_geo ? { inference_geo: input.inference_geo } : {}),
  };
}

/** An update replaces the model whole, but its effort stays while the model is the same one. */
function keepEffort(stored: ModelConfig, next: ModelConfig): ModelConfig {
  return next.effort === undefined && stored.effort !== undefined && stored.id === next.id
    ? { ...next, effort: stored.effort }
    : next;
}
