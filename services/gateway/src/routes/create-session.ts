/**
 * sessions.create: resolve what the session is made of, bind its secrets to an id made here, then make it. The order
 * means that no session exists that the vault-proxy does not know; when the last step fails, the binding is taken back.
 */
import { AppError, newId, toAppError } from "@manyhands/kit";
import { encodeEvent } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check } from "../http/query.ts";
import { agentConfig, toSessionAgent } from "../map/agent.ts";
import { toEnvironment } from "../map/environment.ts";
import { toJsonBytes } from "../map/json-bytes.ts";
import { toRepositoryResource } from "../map/repository.ts";
import { toSession } from "../map/session.ts";
import { configProblems, overridden } from "../schemas/agent.ts";
import { toNewEvent } from "../schemas/events.ts";
import { type AgentReference, sessionCreate } from "../schemas/session.ts";
import type { Environment, Session, SessionAgent } from "../sdk-types.ts";
import { archived, readAgent } from "./agents.ts";
import { archivedEnvironment, readEnvironment } from "./environments.ts";
import { readVault } from "./vaults.ts";

type CreateDeps = Pick<Deps, "sessions" | "agents" | "environments" | "vaults">;

/** Handler of `sessions.create`. */
export const createSession =
  (deps: CreateDeps) =>
  async (call: Call): Promise<Session> => {
    const input = check(sessionCreate, call.body, "body");
    const [agent, environment] = await Promise.all([
      resolveAgent(deps, call, input.agent),
      resolveEnvironment(deps, call, input.environment_id),
      checkVaults(deps, call, input.vault_ids ?? []),
    ]);
    const sessionId = newId("sesn");
    const now = new Date().toISOString();
    const inputs = input.resources ?? [];
    const resources = inputs.map((resource) => toRepositoryResource(resource, newId("sesrsc"), now));
    const { workspaceId } = call.caller;
    await deps.vaults.bindSession(
      {
        workspaceId,
        sessionId,
        vaultIds: input.vault_ids ?? [],
        repositories: inputs.map(({ url, authorization_token }) => ({
          url,
          authorizationToken: authorization_token ?? "",
          allowPush: true,
        })),
        mcpServerUrls: agent.mcp_servers.map(({ url }) => url),
      },
      call.rpc,
    );
    try {
      const { session } = await deps.sessions.createSession(
        {
          workspaceId,
          sessionId,
          requestId: call.identity().requestId,
          agentJson: toJsonBytes(agent),
          environmentJson: toJsonBytes(environment),
          resourcesJson: toJsonBytes(resources),
          title: input.title ?? "",
          metadata: input.metadata ?? {},
          vaultIds: input.vault_ids ?? [],
          initialEvents: (input.initial_events ?? []).map((event) => encodeEvent(toNewEvent(event, newId("sevt")))),
        },
        call.rpc,
      );
      if (session === undefined) throw AppError.internal(new Error("session-store answered without a session"));
      // A retry is answered with the session of the first try, which has its own binding.
      if (session.id !== sessionId) await revoke(deps, call, sessionId);
      return toSession(session);
    } catch (error) {
      // Only a plain refusal proves that there is no session; after anything else a retry may find it, with its rights.
      if (isRefusal(error)) await revoke(deps, call, sessionId);
      throw error;
    }
  };

async function resolveAgent(deps: CreateDeps, call: Call, reference: AgentReference): Promise<SessionAgent> {
  const { id, version = 0 } = typeof reference === "string" ? { id: reference } : reference;
  const stored = await readAgent(deps, call, id, version);
  if (stored.archivedAt) throw archived(stored.id);
  const own = agentConfig(stored);
  const overrides = typeof reference === "object" && reference.type === "agent_with_overrides" ? reference : undefined;
  const config = overrides ? overridden(own, overrides) : own;
  const problems = configProblems(config);
  if (problems.length > 0) {
    throw AppError.invalid(problems.map(({ field, description }) => ({ field: `agent.${field}`, description })));
  }
  return toSessionAgent(stored, config);
}

async function resolveEnvironment(deps: CreateDeps, call: Call, environmentId: string): Promise<Environment> {
  const stored = await readEnvironment(deps, call, environmentId);
  if (stored.archivedAt) throw archivedEnvironment(stored.id);
  const environment = toEnvironment(stored);
  if (environment.config.type === "self_hosted") {
    const description = "must be a cloud environment; self_hosted ones are not served yet";
    throw AppError.invalid([{ field: "environment_id", description }]);
  }
  return environment;
}

/** A vault that is gone or archived would only show when the first credential is missing. */
async function checkVaults(deps: CreateDeps, call: Call, vaultIds: readonly string[]): Promise<void> {
  const vaults = await Promise.all(vaultIds.map((vaultId) => readVault(deps, call, vaultId)));
  const problems = vaults.flatMap((vault, index) =>
    vault.archivedAt ? [{ field: `vault_ids[${index}]`, description: `${vault.id} is archived` }] : [],
  );
  if (problems.length > 0) throw AppError.invalid(problems);
}

function isRefusal(thrown: unknown): boolean {
  const { kind } = toAppError(thrown);
  return kind !== "unavailable" && kind !== "deadline" && kind !== "cancelled" && kind !== "internal";
}

/** Best effort: a binding without a session gives nobody anything, and tokens of it can be minted for no session. */
async function revoke(deps: CreateDeps, call: Call, sessionId: string): Promise<void> {
  try {
    await deps.vaults.revokeSession({ sessionId }, { metadata: call.rpc.metadata ?? {} });
  } catch (error) {
    call.logger.warn({ err: error, session: sessionId }, "a binding without a session could not be taken back");
  }
}
