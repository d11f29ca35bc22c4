import { isId } from "@manyhands/core";
import type { ServiceImpl } from "@manyhands/kit";
import type { EnvironmentService } from "@manyhands/protocol";
import { createEnvironmentStore } from "../catalog/environment-store.ts";
import { idFor, pageOf, parseConfig } from "../catalog/versioned.ts";
import type { Deps } from "../deps.ts";
import { checkRequestId, checkWorkspace, rules } from "./request-rules.ts";

/** All RPCs of EnvironmentService: thin, over one store. */
export function environmentHandlers(
  deps: Pick<Deps, "environments" | "clock">,
): ServiceImpl<typeof EnvironmentService> {
  const store = createEnvironmentStore(deps.environments);
  const now = () => deps.clock.nowMs();
  return {
    async createEnvironment({ workspaceId, configJson, requestId }) {
      const rule = rules();
      checkWorkspace(rule, workspaceId, false);
      checkRequestId(rule, requestId);
      rule.done();
      parseConfig(configJson);
      return { environment: await store.create(workspaceId, idFor("env", workspaceId, requestId), configJson, now()) };
    },
    async getEnvironment({ workspaceId, environmentId }) {
      checkNames(workspaceId, environmentId);
      return { environment: await store.get(workspaceId, environmentId) };
    },
    async listEnvironments(request) {
      const rule = rules();
      checkWorkspace(rule, request.workspaceId, false);
      rule.done();
      const all = (await store.list(request.workspaceId)).filter(
        (environment) => request.includeArchived || environment.archivedAt === undefined,
      );
      const { items, nextPageToken } = pageOf(all, (environment) => environment.id, request);
      return { environments: items, nextPageToken };
    },
    async updateEnvironment({ workspaceId, environmentId, configJson }) {
      checkNames(workspaceId, environmentId);
      parseConfig(configJson);
      return { environment: await store.update(workspaceId, environmentId, configJson, now()) };
    },
    async archiveEnvironment({ workspaceId, environmentId }) {
      checkNames(workspaceId, environmentId);
      return { environment: await store.archive(workspaceId, environmentId, now()) };
    },
    async deleteEnvironment({ workspaceId, environmentId }) {
      checkNames(workspaceId, environmentId);
      await store.delete(workspaceId, environmentId);
      return {};
    },
  };
}

function checkNames(workspaceId: string, environmentId: string): void {
  const rule = rules();
  checkWorkspace(rule, workspaceId, false);
  rule.check(isId("environment", environmentId), "environment_id", "must be an environment id, env_…");
  rule.done();
}
