/**
 * The services behind the gateway, in memory and over real gRPC, for tests of mapping and streaming only. It keeps just
 * enough to answer; the real services are met in the integration tests.
 */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError, createLifecycle, createRpcServer, implement, newId, silentLogger } from "@manyhands/kit";
import {
  type Agent,
  AgentSchema,
  AgentService,
  type BindSessionRequest,
  type Environment,
  EnvironmentSchema,
  EnvironmentService,
  SandboxService,
  VaultService,
} from "@manyhands/protocol";
import { createMemorySessions, type MemorySessions } from "./memory-sessions.ts";

/** What the tests look at and push. */
export type MemoryBackend = {
  readonly address: string;
  readonly sessions: MemorySessions;
  readonly bound: readonly BindSessionRequest[];
  readonly revoked: readonly string[];
  readonly released: readonly string[];
  stop(): Promise<unknown>;
};

/** Starts the services on one free port. */
export async function startMemoryBackend(): Promise<MemoryBackend> {
  const logger = silentLogger();
  const lifecycle = createLifecycle({ logger, drainMs: 200 });
  const sessions = createMemorySessions();
  const bound: BindSessionRequest[] = [];
  const revoked: string[] = [];
  const released: string[] = [];
  const vaults = implement(VaultService, {
    getVault: async ({ vaultId }) => {
      throw AppError.notFound("vault", vaultId);
    },
    bindSession: async (request) => {
      bound.push(request);
      return {};
    },
    revokeSession: async ({ sessionId }) => {
      revoked.push(sessionId);
      return {};
    },
  });
  const sandboxes = implement(SandboxService, {
    release: async ({ sessionId }) => {
      released.push(sessionId);
      return {};
    },
  });
  const services = [sessions.service, agentService(), environmentService(), vaults, sandboxes];
  const { address } = await createRpcServer({ listen: "127.0.0.1:0", services, logger, lifecycle });
  return { address, sessions, bound, revoked, released, stop: () => lifecycle.stop("test over") };
}

const now = () => timestampFromMs(Date.now());

function agentService() {
  const byId = new Map<string, Agent[]>();
  const latest = (agentId: string) => {
    const agent = byId.get(agentId)?.at(-1);
    if (agent === undefined) throw AppError.notFound("agent", agentId);
    return agent;
  };
  return implement(AgentService, {
    createAgent: async ({ workspaceId, configJson }) => {
      const init = { id: newId("agent"), workspaceId, version: 1, configJson, createdAt: now(), updatedAt: now() };
      const agent = create(AgentSchema, init);
      byId.set(agent.id, [agent]);
      return { agent };
    },
    getAgent: async ({ agentId, version, workspaceId }) => {
      const agent = byId.get(agentId)?.findLast((each) => version === 0 || each.version === version);
      if (agent?.workspaceId !== workspaceId) throw AppError.notFound("agent", agentId);
      return { agent };
    },
    updateAgent: async ({ agentId, configJson, expectedVersion }) => {
      const before = latest(agentId);
      if (expectedVersion !== before.version) throw AppError.conflict("VERSION_CONFLICT", "not the latest version");
      const agent = create(AgentSchema, { ...before, version: before.version + 1, configJson, updatedAt: now() });
      byId.get(agentId)?.push(agent);
      return { agent };
    },
  });
}

function environmentService() {
  const byId = new Map<string, Environment>();
  return implement(EnvironmentService, {
    createEnvironment: async ({ workspaceId, configJson }) => {
      const init = { id: newId("env"), workspaceId, configJson, createdAt: now(), updatedAt: now() };
      const environment = create(EnvironmentSchema, init);
      byId.set(environment.id, environment);
      return { environment };
    },
    getEnvironment: async ({ environmentId, workspaceId }) => {
      const environment = byId.get(environmentId);
      if (environment?.workspaceId !== workspaceId) throw AppError.notFound("environment", environmentId);
      return { environment };
    },
  });
}
