import { SessionStatus, type Session as StoredSession } from "@manyhands/protocol";
import type { Environment, Session, SessionAgent, SessionResource } from "../sdk-types.ts";
import { fromJsonBytes, rfc3339, rfc3339OrNull } from "./json-bytes.ts";

const statusNames: Readonly<Record<number, Session["status"]>> = {
  [SessionStatus.UNSPECIFIED]: "idle",
  [SessionStatus.IDLE]: "idle",
  [SessionStatus.RUNNING]: "running",
  [SessionStatus.RESCHEDULING]: "rescheduling",
  [SessionStatus.TERMINATED]: "terminated",
};

/** Status words of the public API, as session-store numbers them. */
export const statusByName: Readonly<Record<Session["status"], SessionStatus>> = {
  idle: SessionStatus.IDLE,
  running: SessionStatus.RUNNING,
  rescheduling: SessionStatus.RESCHEDULING,
  terminated: SessionStatus.TERMINATED,
};

/** A session as the public API shows it. */
export function toSession(stored: StoredSession): Session {
  const { usage } = stored;
  return {
    id: stored.id,
    type: "session",
    status: stored.archivedAt === undefined ? (statusNames[stored.status] ?? "idle") : "terminated",
    title: stored.title === "" ? null : stored.title,
    metadata: { ...stored.metadata },
    agent: sessionAgent(stored),
    environment_id: sessionEnvironment(stored).id,
    resources: sessionResources(stored),
    vault_ids: [...stored.vaultIds],
    budget: fromJsonBytes<Session["budget"]>(stored.budgetJson, null),
    outcome_evaluations: [],
    stats: { duration_seconds: seconds(stored) },
    usage: {
      input_tokens: Number(usage?.inputTokens ?? 0n),
      output_tokens: Number(usage?.outputTokens ?? 0n),
      cache_read_input_tokens: Number(usage?.cacheReadInputTokens ?? 0n),
      cache_creation: { ephemeral_5m_input_tokens: Number(usage?.cacheCreationInputTokens ?? 0n) },
    },
    created_at: rfc3339(stored.createdAt),
    updated_at: rfc3339(stored.updatedAt),
    archived_at: rfc3339OrNull(stored.archivedAt),
    deployment_id: null,
  };
}

/** The agent snapshot the session was made with. */
export function sessionAgent(stored: StoredSession): SessionAgent {
  return fromJsonBytes<SessionAgent>(stored.agentJson, noAgent);
}

/** The environment the session was made with. */
export function sessionEnvironment(stored: StoredSession): Pick<Environment, "id" | "config"> {
  return fromJsonBytes<Pick<Environment, "id" | "config">>(stored.environmentJson, {
    id: "",
    config: { type: "self_hosted" },
  });
}

/** The session's resources, without any secret because none was stored. */
export function sessionResources(stored: StoredSession): SessionResource[] {
  return fromJsonBytes<SessionResource[]>(stored.resourcesJson, []);
}

const noAgent: SessionAgent = {
  id: "",
  type: "agent",
  version: 0,
  name: "",
  description: null,
  system: null,
  model: { id: "" },
  tools: [],
  mcp_servers: [],
  skills: [],
  multiagent: null,
  execution_identity: { type: "service_account" },
};

function seconds({ createdAt, updatedAt }: StoredSession): number {
  return Math.max(0, Number((updatedAt?.seconds ?? 0n) - (createdAt?.seconds ?? 0n)));
}
