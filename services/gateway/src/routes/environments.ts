import { AppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { environmentConfig, toEnvironment } from "../map/environment.ts";
import { toJsonBytes } from "../map/json-bytes.ts";
import {
  type EnvironmentConfig,
  environmentConfigOf,
  environmentCreate,
  environmentProblems,
  environmentUpdate,
  updatedEnvironment,
} from "../schemas/environment.ts";
import type { DeletedEnvironment, Environment, Page } from "../sdk-types.ts";

type EnvironmentDeps = Pick<Deps, "environments">;

/** Handlers of `environments.*`. */
export const environmentRoutes = (deps: EnvironmentDeps) => ({
  "environments.create": async (call: Call): Promise<Environment> => {
    const config = environmentConfigOf(check(environmentCreate, call.body, "body"));
    refuse(config);
    const { requestId } = call.identity();
    const request = { workspaceId: call.caller.workspaceId, configJson: toJsonBytes(config), requestId };
    return answer((await deps.environments.createEnvironment(request, call.rpc)).environment);
  },

  "environments.retrieve": async (call: Call): Promise<Environment> =>
    toEnvironment(await readEnvironment(deps, call, call.param("environment"))),

  "environments.update": async (call: Call): Promise<Environment> => {
    const input = check(environmentUpdate, call.body ?? {}, "body");
    const stored = await readEnvironment(deps, call, call.param("environment"));
    if (stored.archivedAt) throw archivedEnvironment(stored.id);
    const before = environmentConfig(stored);
    if (input.config && input.config.type !== before.config.type) {
      const message = `config.type: cannot change from ${before.config.type} to ${input.config.type}`;
      throw new AppError("invalid", { reason: "INVALID_CONFIG_TYPE_CHANGE", message });
    }
    const config = updatedEnvironment(before, input);
    refuse(config);
    const request = {
      workspaceId: call.caller.workspaceId,
      environmentId: stored.id,
      configJson: toJsonBytes(config),
    };
    return answer((await deps.environments.updateEnvironment(request, call.rpc)).environment);
  },

  "environments.list": async (call: Call): Promise<Page<Environment>> => {
    const query = readQuery(call.query, {
      limit: param.limit(20),
      page: param.text(),
      include_archived: param.flag(),
    });
    const request = {
      workspaceId: call.caller.workspaceId,
      pageSize: query.limit,
      pageToken: query.page ?? "",
      includeArchived: query.include_archived,
    };
    const page = await deps.environments.listEnvironments(request, call.rpc);
    return { data: page.environments.map(toEnvironment), next_page: page.nextPageToken || null };
  },

  "environments.archive": async (call: Call): Promise<Environment> => {
    const request = { workspaceId: call.caller.workspaceId, environmentId: call.param("environment") };
    return answer((await deps.environments.archiveEnvironment(request, call.rpc)).environment);
  },

  "environments.delete": async (call: Call): Promise<DeletedEnvironment> => {
    const environmentId = call.param("environment");
    await deps.environments.deleteEnvironment({ workspaceId: call.caller.workspaceId, environmentId }, call.rpc);
    return { id: environmentId, type: "environment_deleted" };
  },
});

/** One stored environment. */
export async function readEnvironment(deps: EnvironmentDeps, call: Call, environmentId: string) {
  const request = { workspaceId: call.caller.workspaceId, environmentId };
  const { environment } = await deps.environments.getEnvironment(request, call.rpc);
  if (environment === undefined) throw AppError.notFound("environment", environmentId);
  return environment;
}

/** Archived environments take no update and no new session. */
export function archivedEnvironment(environmentId: string): AppError {
  const message = `environment ${environmentId} is archived`;
  return new AppError("invalid", { reason: "ENVIRONMENT_ARCHIVED", message });
}

function refuse(config: EnvironmentConfig): void {
  const problems = environmentProblems(config);
  if (problems.length > 0) throw AppError.invalid(problems);
}

function answer(environment: Parameters<typeof toEnvironment>[0] | undefined): Environment {
  if (environment === undefined) throw AppError.internal(new Error("session-store answered without an environment"));
  return toEnvironment(environment);
}
