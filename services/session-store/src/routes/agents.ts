import { timestampMs } from "@bufbuild/protobuf/wkt";
import { isId } from "@manyhands/core";
import type { ServiceImpl } from "@manyhands/kit";
import type { Agent, AgentService } from "@manyhands/protocol";
import { createAgentStore } from "../catalog/agent-store.ts";
import { idFor, pageOf, parseConfig } from "../catalog/versioned.ts";
import type { Deps } from "../deps.ts";
import { checkRequestId, checkWorkspace, rules } from "./request-rules.ts";

const createdMs = (agent: Agent) => (agent.createdAt === undefined ? 0 : timestampMs(agent.createdAt));

/** All RPCs of AgentService: thin, over one store. */
export function agentHandlers(deps: Pick<Deps, "agents" | "clock">): ServiceImpl<typeof AgentService> {
  const store = createAgentStore(deps.agents);
  const now = () => deps.clock.nowMs();
  return {
    async createAgent({ workspaceId, configJson, requestId }) {
      const rule = rules();
      checkWorkspace(rule, workspaceId, false);
      checkRequestId(rule, requestId);
      rule.done();
      parseConfig(configJson);
      return { agent: await store.create(workspaceId, idFor("agent", workspaceId, requestId), configJson, now()) };
    },
    async getAgent({ workspaceId, agentId, version }) {
      checkNames(workspaceId, agentId);
      return { agent: await store.get(workspaceId, agentId, version) };
    },
    async listAgents(request) {
      const rule = rules();
      checkWorkspace(rule, request.workspaceId, false);
      rule.done();
      const from = request.createdFrom === undefined ? 0 : timestampMs(request.createdFrom);
      const to = request.createdTo === undefined ? Number.POSITIVE_INFINITY : timestampMs(request.createdTo);
      const all = (await store.list(request.workspaceId)).filter(
        (agent) =>
          (request.includeArchived || agent.archivedAt === undefined) &&
          createdMs(agent) >= from &&
          createdMs(agent) <= to,
      );
      const { items, nextPageToken } = pageOf(all, (agent) => agent.id, request);
      return { agents: items, nextPageToken };
    },
    async listAgentVersions(request) {
      checkNames(request.workspaceId, request.agentId);
      const all = await store.versions(request.workspaceId, request.agentId);
      const { items, nextPageToken } = pageOf(all, (agent) => String(agent.version), request);
      return { agents: items, nextPageToken };
    },
    async updateAgent({ workspaceId, agentId, configJson, expectedVersion }) {
      checkNames(workspaceId, agentId);
      parseConfig(configJson);
      return { agent: await store.update(workspaceId, agentId, configJson, expectedVersion, now()) };
    },
    async archiveAgent({ workspaceId, agentId }) {
      checkNames(workspaceId, agentId);
      return { agent: await store.archive(workspaceId, agentId, now()) };
    },
  };
}

function checkNames(workspaceId: string, agentId: string): void {
  const rule = rules();
  checkWorkspace(rule, workspaceId, false);
  rule.check(isId("agent", agentId), "agent_id", "must be an agent id, agent_…");
  rule.done();
}
