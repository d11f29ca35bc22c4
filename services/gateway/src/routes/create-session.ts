/**
 * sessions.create: resolve what the session is made of, bind its secrets to an id made here, then make it. The order
 * means that no session exists that the vault-proxy does not know; when the last step fails, the binding is taken back.
 */
import { createHash } from "node:crypto";
import { harnessSetting, settingsOf } from "@manyhands/core";
import { AppError, newId, toAppError } from "@manyhands/kit";
import { encodeEvent, type Session as StoredSession } from "@manyhands/protocol";
import type { z } from "zod";
import type { Deps } from "../deps.ts";
import { type GivenStore, memoryStoreResources } from "../given-memory-stores.ts";
import type { Call } from "../http/call.ts";
import { check } from "../http/query.ts";
import { agentConfig, toSessionAgent } from "../map/agent.ts";
import { toEnvironment } from "../map/environment.ts";
import { toFileResource } from "../map/file.ts";
import { toJsonBytes } from "../map/json-bytes.ts";
import { toRepositoryResource } from "../map/repository.ts";
import { toSession } from "../map/session.ts";
import { checkGivenFiles, type GivenFile } from "../mounted-files.ts";
import { configProblems, overridden } from "../schemas/agent.ts";
import { toNewEvent } from "../schemas/events.ts";
import { type AgentReference, sessionCreate } from "../schemas/session.ts";
import type { Environment, MemoryStoreResource, Session, SessionAgent, SessionResource } from "../sdk-types.ts";
import { archived, readAgent } from "./agents.ts";
import { archivedEnvironment, readEnvironment } from "./environments.ts";
import { readVault } from "./vaults.ts";

type CreateDeps = Pick<
  Deps,
  "sessions" | "agents" | "environments" | "files" | "memories" | "vaults" | "work" | "sessionEnvironments"
>;

/** Handler of `sessions.create`. */
export const createSession =
  (deps: CreateDeps) =>
  async (call: Call): Promise<Session> => {
    const input = check(sessionCreate, call.body, "body");
    const { requestId } = call.identity();
    const sessionId = sessionIdOf(call.caller.workspaceId, requestId);
    const earlier = await findSession(deps, call, sessionId);
    if (earlier !== undefined) return offered(deps, call, earlier);
    const [{ agent, settings }, environment, stores] = await Promise.all([
      resolveAgent(deps, call, input.agent),
      resolveEnvironment(deps, call, input.environment_id),
      memoryStoreResources(deps, call, (input.resources ?? []).flatMap(givenStore)),
      checkVaults(deps, call, input.vault_ids ?? []),
      checkGivenFiles(deps, call, (input.resources ?? []).flatMap(givenFile)),
    ]);
    refuseResources(environment, input);
    await bind(deps, call, sessionId, input, agent);
    try {
      const metadata = { ...settings, ...input.metadata };
      const request = {
        ...createRequest(call.caller.workspaceId, sessionId, input, agent, environment, stores),
        metadata,
      };
      const harnessKind = metadata[harnessSetting] ?? "";
      const { session } = await deps.sessions.createSession({ ...request, harnessKind, requestId }, call.rpc);
      if (session === undefined) throw AppError.internal(new Error("session-store answered without a session"));
      return await offered(deps, call, session);
    } catch (thrown) {
      const error = toAppError(thrown);
      // Two equal requests at once: the other one made it.
      const made = error.kind === "conflict" ? await findSession(deps, call, sessionId) : undefined;
      if (made !== undefined) return offered(deps, call, made);
      if (isRefusal(error)) await revoke(deps, call, sessionId);
      throw error;
    }
  };

type Input = z.infer<typeof sessionCreate>;

/**
 * The id follows from the request's identity, so that a repeat finds what the first one made, on every replica; ids of
 * resources and times may then differ from try to try. The same form as session-store gives ids of requests.
 */
function sessionIdOf(workspaceId: string, requestId: string): string {
  return `sesn_${createHash("sha256").update(`${workspaceId}\n${requestId}`).digest("base64url").slice(0, 24)}`;
}

async function findSession(deps: CreateDeps, call: Call, sessionId: string): Promise<StoredSession | undefined> {
  try {
    const { session } = await deps.sessions.getSession({ workspaceId: call.caller.workspaceId, sessionId }, call.rpc);
    return session;
  } catch (thrown) {
    const error = toAppError(thrown);
    if (error.kind === "notFound") return undefined;
    throw error;
  }
}

/** A session of a self-hosted environment waits for a worker from its beginning on. */
async function offered(deps: CreateDeps, call: Call, session: StoredSession): Promise<Session> {
  const { workspaceId } = call.caller;
  const environment = await deps.sessionEnvironments.of(workspaceId, session.id, async () => session);
  if (environment.isSelfHosted) {
    await deps.work.offerWork({ workspaceId, environmentId: environment.id, sessionId: session.id }, call.rpc);
  }
  return toSession(session);
}

/** Nothing of the platform reaches into a worker's machine to put a repository there; memories the worker gets itself. */
function refuseResources(environment: Environment, input: Input): void {
  if (environment.config.type !== "self_hosted") return;
  const problems = (input.resources ?? []).flatMap(({ type }, index) =>
    type === "memory_store" ? [] : [{ field: `resources[${index}]`, description: NOT_MOUNTED }],
  );
  if (problems.length > 0) throw AppError.invalid(problems);
}

const NOT_MOUNTED = "must be a memory_store: a self-hosted environment has no repositories or files mounted";

function givenStore(resource: NonNullable<Input["resources"]>[number], index: number): GivenStore[] {
  return resource.type === "memory_store" ? [{ input: resource, field: `resources[${index}]` }] : [];
}

function givenFile(resource: NonNullable<Input["resources"]>[number], index: number): GivenFile[] {
  if (resource.type !== "file") return [];
  const { file_id: fileId, mount_path: path } = toFileResource(resource, "", "");
  return [{ fileId, path, field: `resources[${index}]` }];
}

async function bind(deps: CreateDeps, call: Call, sessionId: string, input: Input, agent: SessionAgent) {
  const repositories = (input.resources ?? []).flatMap((resource) =>
    resource.type === "github_repository"
      ? [{ url: resource.url, authorizationToken: resource.authorization_token ?? "", allowPush: true }]
      : [],
  );
  const mcpServers = agent.mcp_servers.map(({ name, url }) => ({ name, url }));
  const { workspaceId } = call.caller;
  const vaultIds = input.vault_ids ?? [];
  await deps.vaults.bindSession({ workspaceId, sessionId, vaultIds, repositories, mcpServers }, call.rpc);
}

/** The session as it is stored: the resources without their tokens. */
function createRequest(
  workspaceId: string,
  sessionId: string,
  input: Input,
  agent: SessionAgent,
  environment: Environment,
  stores: readonly MemoryStoreResource[],
) {
  const now = new Date().toISOString();
  const left = [...stores]; // in the order in which they were given
  const resources = (input.resources ?? []).flatMap((resource): SessionResource[] => {
    if (resource.type === "memory_store") return left.splice(0, 1);
    const id = newId("sesrsc");
    return [resource.type === "file" ? toFileResource(resource, id, now) : toRepositoryResource(resource, id, now)];
  });
  return {
    workspaceId,
    sessionId,
    agentJson: toJsonBytes(agent),
    environmentJson: toJsonBytes(environment),
    resourcesJson: toJsonBytes(resources),
    title: input.title ?? "",
    ...(input.budget ? { budgetJson: toJsonBytes(input.budget) } : {}),
    vaultIds: input.vault_ids ?? [],
    initialEvents: (input.initial_events ?? []).map((event) => encodeEvent(toNewEvent(event, newId("sevt")))),
  };
}

/** The agent's snapshot, and the settings in its metadata, which its sessions begin with. */
async function resolveAgent(
  deps: CreateDeps,
  call: Call,
  reference: AgentReference,
): Promise<{ agent: SessionAgent; settings: Record<string, string> }> {
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
  return { agent: toSessionAgent(stored, config), settings: settingsOf(own.metadata) };
}

async function resolveEnvironment(deps: CreateDeps, call: Call, environmentId: string): Promise<Environment> {
  const stored = await readEnvironment(deps, call, environmentId);
  if (stored.archivedAt) throw archivedEnvironment(stored.id);
  return toEnvironment(stored);
}

/** A vault that is gone or archived would only show when the first credential is missing. */
async function checkVaults(deps: CreateDeps, call: Call, vaultIds: readonly string[]): Promise<void> {
  const vaults = await Promise.all(vaultIds.map((vaultId) => readVault(deps, call, vaultId)));
  const problems = vaults.flatMap((vault, index) =>
    vault.archivedAt ? [{ field: `vault_ids[${index}]`, description: `${vault.id} is archived` }] : [],
  );
  if (problems.length > 0) throw AppError.invalid(problems);
}

/** Only a plain refusal proves that there is no session; after anything else a repeat may find it, with its rights. */
function isRefusal({ kind }: AppError): boolean {
  return kind === "invalid" || kind === "notFound" || kind === "denied" || kind === "exhausted";
}

/** Best effort: a binding without a session gives nobody anything, and tokens of it can be minted for no session. */
async function revoke(deps: CreateDeps, call: Call, sessionId: string): Promise<void> {
  try {
    await deps.vaults.revokeSession({ sessionId }, { metadata: call.rpc.metadata ?? {} });
  } catch (error) {
    call.logger.warn({ err: error, session: sessionId }, "a binding without a session could not be taken back");
  }
}
