/**
 * The event catalogue as the core sees it: the public wire shape (snake_case payload fields, so that what users read
 * in the API, the log and the code is the same thing) plus `position` and `at`. The protobuf twin is
 * `proto/manyhands/events/v1`; `packages/protocol` holds the only codec between the two, and a test there proves that
 * both catalogues have the same types. Docs of each event: the proto comments.
 */
import type { ContentBlock } from "./content.ts";
import type { GrantedHand, UsedHand } from "./passed-hands.ts";
import type { SettledPush } from "./settled-push.ts";

/** JSON as it travels in tool inputs and configurations. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A JSON object. */
export type JsonObject = { [key: string]: Json };

/** Tokens as the model provider counts them. */
export interface ModelUsage {
  input_tokens: number;
  output_tokens: number;
  cache_read_input_tokens: number;
  cache_creation_input_tokens: number;
}

/** Why a turn ended. `event_ids` only with `requires_action`. */
export interface StopReason {
  type: "end_turn" | "requires_action" | "retries_exhausted" | "budget_reached" | "refusal";
  event_ids?: string[];
}

/** What failed; `type` is one of the public session error types. */
export interface SessionErrorDetail {
  type: string;
  message: string;
  retry_status: { type: "retrying" | "exhausted" | "terminal" };
  mcp_server_name?: string;
  repository_url?: string;
  credential_id?: string;
  vault_id?: string;
}

/** `allow`, `ask` or `deny`: the server is the judge of every tool use. */
export type EvaluatedPermission = "allow" | "ask" | "deny";

/** How an operation ended; see DESIGN of the operation contract in ARCHITECTURE.md. */
export type OperationOutcome = "COMPLETED" | "NOT_STARTED" | "KILLED" | "UNKNOWN";

/** What a tool answered. */
interface ToolAnswer {
  content?: ContentBlock[];
  is_error?: boolean;
}

interface ThreadRef {
  session_thread_id: string;
  agent_name: string;
}

interface StopDetails {
  type: "refusal";
  category: string;
  explanation: string;
}

/** What a session is made of when it begins, anew or as a fork. */
export interface SessionSetup {
  workspace_id: string;
  agent: JsonObject;
  environment: JsonObject;
  title: string;
  metadata: Record<string, string>;
  resources: JsonObject[];
  vault_ids: string[];
  harness_kind: string;
  budget: Json;
}

/** Payload by event type. */
export interface EventPayloads {
  "user.message": { content: ContentBlock[] };
  "user.interrupt": object;
  "user.tool_confirmation": { tool_use_id: string; result: "allow" | "deny"; deny_message?: string };
  "user.custom_tool_result": { custom_tool_use_id: string } & ToolAnswer;
  "user.tool_result": { tool_use_id: string } & ToolAnswer;
  "user.define_outcome": { outcome_id: string; description: string; rubric: Json; max_iterations?: number };
  "system.message": { content: ContentBlock[] };

  "agent.message": { content: ContentBlock[] };
  "agent.thinking": { thinking: string; signature: string; redacted_data: string };
  "agent.tool_use": {
    name: string;
    input: JsonObject;
    evaluated_permission?: EvaluatedPermission;
    evaluation?: { type: string };
  };
  "agent.tool_result": { tool_use_id: string; outcome: OperationOutcome | ""; hand_id: string } & ToolAnswer;
  "agent.mcp_tool_use": {
    mcp_server_name: string;
    name: string;
    input: JsonObject;
    evaluated_permission?: EvaluatedPermission;
    evaluation?: { type: string };
  };
  "agent.mcp_tool_result": { mcp_tool_use_id: string; outcome: OperationOutcome | "" } & ToolAnswer;
  "agent.custom_tool_use": { name: string; input: JsonObject };
  "agent.thread_context_compacted": { from_position: number; to_position: number; summary: string };
  "agent.thread_message_sent": { to_session_thread_id: string; to_agent_name?: string; content: ContentBlock[] };
  "agent.thread_message_received": {
    from_session_thread_id: string;
    from_agent_name?: string;
    content: ContentBlock[];
  };

  "session.status_running": object;
  "session.status_idle": { stop_reason: StopReason; stop_details?: StopDetails };
  "session.status_rescheduled": { attempt: number; retry_after_ms: number };
  "session.status_terminated": object;
  "session.error": { error: SessionErrorDetail };
  "session.updated": {
    title?: string;
    metadata?: Record<string, string>;
    agent?: Json;
    budget?: Json;
    removed_resource_ids?: string[];
    added_resources?: JsonObject[];
  };
  "session.usage": { usage: ModelUsage; active_seconds: number };
  "session.deleted": object;
  "session.thread_created": ThreadRef & { workflow_run_id?: string };
  "session.thread_status_running": ThreadRef;
  "session.thread_status_idle": ThreadRef & { stop_reason: StopReason; stop_details?: StopDetails };
  "session.thread_status_rescheduled": ThreadRef;
  "session.thread_status_terminated": ThreadRef;

  "span.model_request_start": {
    model: string;
    context_position: number;
    attempt: number;
    /** Absent for the conversation itself. */
    purpose?: string;
  };
  "span.model_request_end": {
    model_request_start_id: string;
    is_error: boolean;
    model_usage: ModelUsage;
    stop_reason: string;
    time_to_first_token_ms: number;
  };
  "span.outcome_evaluation_start": { outcome_id: string; iteration: number };
  "span.outcome_evaluation_ongoing": { outcome_id: string; iteration: number };
  "span.outcome_evaluation_end": {
    outcome_evaluation_start_id: string;
    outcome_id: string;
    iteration: number;
    result: string;
    explanation: string;
    usage: ModelUsage;
  };

  "workflow_run.created": { workflow_run_id: string; name: string; description: string; phases: Json };
  "workflow_run.status_running": { workflow_run_id: string };
  "workflow_run.status_idle": { workflow_run_id: string };
  "workflow_run.status_ended": { workflow_run_id: string; result: Json };
  "workflow_run.error": { workflow_run_id?: string; error: Json };
  "workflow_run.phase_started": { workflow_run_id: string; workflow_run_phase_id: string };
  "workflow_run.phase_ended": { workflow_run_id: string; phase_started_id: string };
  "session.created": SessionSetup;
  "session.archived": object;
  "session.harness_changed": { from_kind: string; to_kind: string };
  "session.forked": {
    origin_session_id: string;
    origin_position: number;
    origin_frames: number;
    carrier_id: string;
  } & SessionSetup;
  "brain.woken": { epoch: number; harness_kind: string; harness_version: string; instance_id: string };
  "brain.released": { reason: "drain" | "idle" | "interrupt" };
  "operation.dispatched": { operation_id: string; hand_id: string; attempt: number; grant_id?: string };
  "hand.provisioned": {
    hand_id: string;
    name: string;
    driver: string;
    not_isolated: string[];
    recipe: Json;
    generation: number;
  };
  "hand.lost": { hand_id: string; reason: string };
  "hand.released": { hand_id: string; reason: string };
  "hand.granted": GrantedHand;
  "hand.revoked": { hand_id: string; grant_id: string };
  "hand.used": UsedHand;
  "push.settled": SettledPush;
  "context.checkpointed": { up_to_position: number; fold_version: number; state: Json };
  "session.mcp_tools_listed": { mcp_server_name: string; tools: Json };
  "credential.used": {
    credential_id: string;
    proxy: "git" | "mcp" | "model" | "egress";
    host: string;
    method: string;
    path: string;
    status: number;
    request_bytes: number;
    response_bytes: number;
    operation_id: string;
    input_tokens?: number;
    output_tokens?: number;
  };
}

/** Every event type of the catalogue. */
export type EventType = keyof EventPayloads;

/** What every stored event has. */
export interface EventEnvelope {
  /** `sevt_…`, stable for ever. */
  id: string;
  /** Gapless number in the session, 0 for the first. */
  position: number;
  /** When it was accepted, milliseconds since 1970. */
  at: number;
  /** Epoch of the brain that wrote it; 0 when a client or the platform did. */
  epoch: number;
  /** Thread it belongs to; absent for the primary one. */
  session_thread_id?: string;
}

/** A stored event of one type. */
export type EventOf<T extends EventType> = T extends EventType ? EventEnvelope & { type: T } & EventPayloads[T] : never;

/** Any stored event of the catalogue. */
export type SessionEvent = EventOf<EventType>;

/** A stored event whose type this version does not know; kept as its wire bytes so that it survives a round trip. */
export interface UnknownEvent extends EventEnvelope {
  type: string;
  unknown: Uint8Array;
}

/** An event that is not stored yet: the store sets position and time. */
export type NewEvent<T extends EventType = EventType> = T extends EventType
  ? { id: string; type: T; session_thread_id?: string } & EventPayloads[T]
  : never;

/** Types that clients may send. */
export const clientEventTypes = [
  "user.message",
  "user.interrupt",
  "user.tool_confirmation",
  "user.custom_tool_result",
  "user.tool_result",
  "user.define_outcome",
  "system.message",
] as const satisfies readonly EventType[];

/** Types of the platform's own facts, hidden from public lists unless asked for. */
export const platformEventTypes = [
  "session.created",
  "session.archived",
  "session.harness_changed",
  "session.forked",
  "brain.woken",
  "brain.released",
  "operation.dispatched",
  "hand.provisioned",
  "hand.lost",
  "hand.released",
  "hand.granted",
  "hand.revoked",
  "hand.used",
  "push.settled",
  "context.checkpointed",
  "credential.used",
  "session.mcp_tools_listed",
] as const satisfies readonly EventType[];

const platformTypes: ReadonlySet<string> = new Set(platformEventTypes);
const clientTypes: ReadonlySet<string> = new Set(clientEventTypes);

/** True for the platform's own facts. */
export function isPlatformEvent(type: string): boolean {
  return platformTypes.has(type);
}

/** True for types that clients may send. */
export function isClientEvent(type: string): boolean {
  return clientTypes.has(type);
}

/** True for an event that this version cannot fold. */
export function isUnknownEvent(event: SessionEvent | UnknownEvent): event is UnknownEvent {
  return "unknown" in event;
}
