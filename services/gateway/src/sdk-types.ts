/**
 * Answers are typed by the official client's own types: when a new release changes a shape, this service stops
 * compiling. Types only; the client itself is no dependency of the running service.
 */
export type {
  BetaManagedAgentsAgent as Agent,
  BetaManagedAgentsAgentToolConfig as AgentToolConfig,
  BetaManagedAgentsAgentToolset20260401 as AgentToolset,
  BetaManagedAgentsAgentToolsetDefaultConfig as ToolsetDefault,
  BetaManagedAgentsMCPServerURLDefinition as McpServer,
  BetaManagedAgentsMCPToolset as McpToolset,
  BetaManagedAgentsModelConfig as ModelConfig,
  BetaManagedAgentsWebFetchURLSources as WebFetchSources,
} from "@anthropic-ai/sdk/resources/beta/agents/agents";
export type {
  BetaCloudConfig as CloudConfig,
  BetaEnvironment as Environment,
  BetaEnvironmentDeleteResponse as DeletedEnvironment,
  BetaSelfHostedConfig as SelfHostedConfig,
} from "@anthropic-ai/sdk/resources/beta/environments/environments";
export type {
  BetaSelfHostedWork as Work,
  BetaSelfHostedWorkHeartbeatResponse as WorkHeartbeat,
  BetaSelfHostedWorkQueueStats as WorkStats,
} from "@anthropic-ai/sdk/resources/beta/environments/work";
export type {
  BetaDeletedFile as DeletedFile,
  BetaFileMetadata as FileMetadata,
} from "@anthropic-ai/sdk/resources/beta/files";
export type {
  BetaManagedAgentsDeletedMemory as DeletedMemory,
  BetaManagedAgentsMemory as Memory,
  BetaManagedAgentsMemoryListItem as MemoryListItem,
} from "@anthropic-ai/sdk/resources/beta/memory-stores/memories";
export type {
  BetaManagedAgentsDeletedMemoryStore as DeletedMemoryStore,
  BetaManagedAgentsMemoryStore as MemoryStore,
} from "@anthropic-ai/sdk/resources/beta/memory-stores/memory-stores";
export type {
  BetaManagedAgentsActor as Actor,
  BetaManagedAgentsMemoryVersion as MemoryVersion,
} from "@anthropic-ai/sdk/resources/beta/memory-stores/memory-versions";
export type {
  BetaManagedAgentsSendSessionEvents as SentEvents,
  BetaManagedAgentsSessionEvent as PublicEvent,
  BetaManagedAgentsStreamSessionEvents as StreamEvent,
} from "@anthropic-ai/sdk/resources/beta/sessions/events";
export type {
  BetaManagedAgentsDeleteSessionResource as DeletedResource,
  BetaManagedAgentsFileResource as FileResource,
  BetaManagedAgentsGitHubRepositoryResource as RepositoryResource,
  BetaManagedAgentsMemoryStoreResource as MemoryStoreResource,
  BetaManagedAgentsSessionResource as SessionResource,
} from "@anthropic-ai/sdk/resources/beta/sessions/resources";
export type {
  BetaManagedAgentsDeletedSession as DeletedSession,
  BetaManagedAgentsSession as Session,
  BetaManagedAgentsSessionAgent as SessionAgent,
} from "@anthropic-ai/sdk/resources/beta/sessions/sessions";
export type {
  BetaManagedAgentsCredential as Credential,
  BetaManagedAgentsCredentialValidation as CredentialValidation,
  BetaManagedAgentsDeletedCredential as DeletedCredential,
} from "@anthropic-ai/sdk/resources/beta/vaults/credentials";
export type {
  BetaManagedAgentsDeletedVault as DeletedVault,
  BetaManagedAgentsVault as Vault,
} from "@anthropic-ai/sdk/resources/beta/vaults/vaults";

import type {
  BetaManagedAgentsAgent,
  BetaManagedAgentsAgentToolsetDefaultConfig,
} from "@anthropic-ai/sdk/resources/beta/agents/agents";

/** One entry of an agent's `tools`. */
export type AgentTool = BetaManagedAgentsAgent["tools"][number];
/** When a tool call needs consent. */
export type PermissionPolicy = BetaManagedAgentsAgentToolsetDefaultConfig["permission_policy"];

/** A page of a list that goes one way. */
export type Page<T> = { data: T[]; next_page: string | null };
/** A page of a list that goes both ways. */
export type TwoWayPage<T> = Page<T> & { prev_page: string | null };
