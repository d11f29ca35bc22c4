import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError, toAppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { agentConfig, toAgent } from "../map/agent.ts";
import { toJsonBytes } from "../map/json-bytes.ts";
import {
  type AgentConfig,
  agentCreate,
  agentUpdate,
  configOf,
  configProblems,
  updatedConfig,
} from "../schemas/agent.ts";
import type { Agent, Page } from "../sdk-types.ts";

type AgentDeps = Pick<Deps, "agents">;

const MAX_UPDATE_TRIES = 3;

/** Handlers of `agents.*`. */
export const agentRoutes = (deps: AgentDeps) => ({
  "agents.create": async (call: Call): Promise<Agent> => {
    const config = configOf(check(agentCreate, call.body, "body"));
    refuse(config);
    const { requestId } = call.identity();
    const request = { workspaceId: call.caller.workspaceId, configJson: toJsonBytes(config), requestId };
    return answer((await deps.agents.createAgent(request, call.rpc)).agent);
  },

  "agents.retrieve": async (call: Call): Promise<Agent> => {
    const { version } = readQuery(call.query, { version: param.count() });
    return toAgent(await readAgent(deps, call, call.param("agent"), version ?? 0));
  },

  "agents.update": async (call: Call): Promise<Agent> => {
    const input = check(agentUpdate, call.body ?? {}, "body");
    for (let attempt = 1; ; attempt += 1) {
      const latest = await readAgent(deps, call, call.param("agent"), 0);
      if (input.version !== undefined && input.version !== latest.version) {
        throw AppError.conflict("VERSION_CONFLICT", `version: must be the latest, which is ${latest.version}`);
      }
      if (latest.archivedAt) throw archived(latest.id);
      const config = updatedConfig(agentConfig(latest), input);
      refuse(config);
      try {
        const request = {
          workspaceId: call.caller.workspaceId,
          agentId: latest.id,
          configJson: toJsonBytes(config),
          expectedVersion: latest.version,
        };
        return answer((await deps.agents.updateAgent(request, call.rpc)).agent);
      } catch (thrown) {
        // Without a version from the client the update is meant for whatever is the latest: read again, merge again.
        const error = toAppError(thrown);
        const again = error.kind === "conflict" && input.version === undefined && attempt < MAX_UPDATE_TRIES;
        if (!again) throw error;
      }
    }
  },

  "agents.list": async (call: Call): Promise<Page<Agent>> => {
    const query = readQuery(call.query, {
      limit: param.limit(20),
      page: param.text(),
      include_archived: param.flag(),
      "created_at[gte]": param.time(),
      "created_at[lte]": param.time(),
    });
    const from = query["created_at[gte]"];
    const to = query["created_at[lte]"];
    const request = {
      workspaceId: call.caller.workspaceId,
      pageSize: query.limit,
      pageToken: query.page ?? "",
      includeArchived: query.include_archived,
      ...(from === undefined ? {} : { createdFrom: timestampFromMs(from) }),
      ...(to === undefined ? {} : { createdTo: timestampFromMs(to) }),
    };
    const page = await deps.agents.listAgents(request, call.rpc);
    return { data: page.agents.map(toAgent), next_page: page.nextPageToken || null };
  },

  "agents.versions.list": async (call: Call): Promise<Page<Agent>> => {
    const query = readQuery(call.query, { limit: param.limit(20), page: param.text() });
    const request = {
      workspaceId: call.caller.workspaceId,
      agentId: call.param("agent"),
      pageSize: query.limit,
      pageToken: query.page ?? "",
    };
    const page = await deps.agents.listAgentVersions(request, call.rpc);
    return { data: page.agents.map(toAgent), next_page: page.nextPageToken || null };
  },

  "agents.archive": async (call: Call): Promise<Agent> => {
    const request = { workspaceId: call.caller.workspaceId, agentId: call.param("agent") };
    return answer((await deps.agents.archiveAgent(request, call.rpc)).agent);
  },
});

/** One stored version; 0 is the latest. */
export async function readAgent(deps: AgentDeps, call: Call, agentId: string, version: number) {
  const request = { workspaceId: call.caller.workspaceId, agentId, version };
  const { agent } = await deps.agents.getAgent(request, call.rpc);
  if (agent === undefined) throw AppError.notFound("agent", agentId);
  return agent;
}

/** Archived agents take no update and no new session. */
export function archived(agentId: string): AppError {
  return new AppError("invalid", { reason: "AGENT_ARCHIVED", message: `agent ${agentId} is archived` });
}

function refuse(config: AgentConfig): void {
  const problems = configProblems(config);
  if (problems.length > 0) throw AppError.invalid(problems);
}

function answer(agent: Parameters<typeof toAgent>[0] | undefined): Agent {
  if (agent === undefined) throw AppError.internal(new Error("session-store answered without an agent"));
  return toAgent(agent);
}
