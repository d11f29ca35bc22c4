import { createRpcClient, type RpcClient, type Shell } from "@manyhands/kit";
import {
  AgentService,
  EnvironmentService,
  FileService,
  HarnessService,
  MemoryService,
  SandboxService,
  SessionService,
  VaultService,
  WorkService,
} from "@manyhands/protocol";
import { type ApiKeys, openApiKeys } from "./api-keys.ts";
import type { Config } from "./config.ts";
import { createRetryMemory, type RetryMemory } from "./retry-memory.ts";
import { createSessionEnvironments, type SessionEnvironments } from "./session-environments.ts";
import { createStreamSlots, type StreamSlots } from "./stream-slots.ts";

/** Everything the routes use; the only place that knows what stands behind them. */
export type Deps = {
  readonly apiKeys: ApiKeys;
  readonly sessions: RpcClient<typeof SessionService>;
  readonly agents: RpcClient<typeof AgentService>;
  readonly environments: RpcClient<typeof EnvironmentService>;
  readonly files: RpcClient<typeof FileService>;
  readonly memories: RpcClient<typeof MemoryService>;
  readonly vaults: RpcClient<typeof VaultService>;
  readonly sandboxes: RpcClient<typeof SandboxService>;
  readonly work: RpcClient<typeof WorkService>;
  readonly harness: RpcClient<typeof HarnessService>;
  readonly retryMemory: RetryMemory;
  readonly sessionEnvironments: SessionEnvironments;
  readonly streamSlots: StreamSlots;
};

/** Opens the clients and the key file; what is opened registers its own stop. */
export function createDeps(config: Config, shell: Shell, overrides: Partial<Deps> = {}): Deps {
  const { lifecycle, metrics } = shell;
  const defaultDeadlineMs = config.limits.callMs;
  const store = { address: config.sessionStoreAddress, defaultDeadlineMs, metrics };
  const deps: Deps = {
    apiKeys: overrides.apiKeys ?? openApiKeys(config.apiKeysFile, shell),
    sessions:
      overrides.sessions ??
      createRpcClient(SessionService, { ...store, retryReads: ["getSession", "listSessions", "getEvents"] }),
    agents:
      overrides.agents ??
      createRpcClient(AgentService, { ...store, retryReads: ["getAgent", "listAgents", "listAgentVersions"] }),
    environments:
      overrides.environments ??
      createRpcClient(EnvironmentService, { ...store, retryReads: ["getEnvironment", "listEnvironments"] }),
    files: overrides.files ?? createRpcClient(FileService, { ...store, retryReads: ["getFile", "listFiles"] }),
    memories:
      overrides.memories ??
      createRpcClient(MemoryService, {
        ...store,
        retryReads: ["getMemoryStore", "listMemoryStores", "getMemory", "listMemories"],
      }),
    vaults:
      overrides.vaults ??
      createRpcClient(VaultService, {
        address: config.vaultProxyAddress,
        defaultDeadlineMs,
        metrics,
        retryReads: ["getVault", "listVaults", "getCredential", "listCredentials"],
      }),
    sandboxes:
      overrides.sandboxes ??
      createRpcClient(SandboxService, { address: config.sandboxManagerAddress, defaultDeadlineMs, metrics }),
    work:
      overrides.work ??
      createRpcClient(WorkService, { address: config.sandboxManagerAddress, defaultDeadlineMs, metrics }),
    harness:
      overrides.harness ??
      createRpcClient(HarnessService, { address: config.harnessAddress, defaultDeadlineMs, metrics }),
    retryMemory: overrides.retryMemory ?? createRetryMemory(),
    sessionEnvironments: overrides.sessionEnvironments ?? createSessionEnvironments(),
    streamSlots:
      overrides.streamSlots ??
      createStreamSlots({ total: config.limits.streams, perWorkspace: config.limits.streamsPerWorkspace }),
  };
  const clients = {
    sessions: deps.sessions,
    agents: deps.agents,
    environments: deps.environments,
    files: deps.files,
    memories: deps.memories,
    vaults: deps.vaults,
  };
  for (const [name, client] of Object.entries({
    ...clients,
    sandboxes: deps.sandboxes,
    work: deps.work,
    harness: deps.harness,
  })) {
    lifecycle.onStop(`${name} client`, () => client.close());
  }
  return deps;
}
