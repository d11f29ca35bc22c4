import type { Agent as StoredAgent } from "@manyhands/protocol";
import type { AgentConfig } from "../schemas/agent.ts";
import type { Agent, SessionAgent } from "../sdk-types.ts";
import { fromJsonBytes, rfc3339, rfc3339OrNull } from "./json-bytes.ts";

const empty: AgentConfig = {
  name: "",
  description: null,
  system: null,
  model: { id: "" },
  tools: [],
  mcp_servers: [],
  skills: [],
  multiagent: null,
  execution_identity: { type: "service_account" },
  metadata: {},
};

/** The stored configuration of an agent version; keys added by later versions of this service get their defaults. */
export function agentConfig(stored: StoredAgent): AgentConfig {
  return { ...empty, ...fromJsonBytes<Partial<AgentConfig>>(stored.configJson, {}) };
}

/** An agent version as the public API shows it. */
export function toAgent(stored: StoredAgent): Agent {
  return {
    id: stored.id,
    type: "agent",
    version: stored.version,
    ...agentConfig(stored),
    created_at: rfc3339(stored.createdAt),
    updated_at: rfc3339(stored.updatedAt),
    archived_at: rfc3339OrNull(stored.archivedAt),
  };
}

/** The resolved agent that a session keeps: the version's configuration, with the session's own overrides in it. */
export function toSessionAgent(stored: StoredAgent, config: AgentConfig): SessionAgent {
  const { metadata: _notPartOfTheSnapshot, multiagent: _notServedYet, ...rest } = config;
  return { id: stored.id, type: "agent", version: stored.version, ...rest, multiagent: null };
}
