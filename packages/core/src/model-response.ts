/** A finished or failed model request → the events that record it, in one frame. */
import type { EventDraft } from "./actions.ts";
import type { AgentConfig } from "./agent-config.ts";
import { contextOverflow } from "./context/window-state.ts";
import { closedRequest } from "./decide.ts";
import type { ModelUsage, NewEvent } from "./events.ts";
import { type Limits, modelBackoffMs } from "./limits.ts";
import { type ModelToolUse, toolUseEvent } from "./tool-policy.ts";

/** A block of a response. Consecutive text blocks carry the same event id; every other block has its own. */
export type ResponseBlock =
  | { readonly type: "text"; readonly id: string; readonly text: string }
  | { readonly type: "thinking"; readonly id: string; readonly thinking: string; readonly signature: string }
  | { readonly type: "redacted_thinking"; readonly id: string; readonly data: string }
  | ({ readonly type: "tool_use" } & ModelToolUse);

/** A whole response of the model. */
export interface ModelResponse {
  readonly blocks: readonly ResponseBlock[];
  readonly stopReason: string;
  readonly usage: ModelUsage;
  readonly timeToFirstTokenMs: number;
}

/** An event that may lack its id: only those that a preview announced have one already. */
export type Recorded = NewEvent | EventDraft;

/**
 * The events of a response: thinking, messages and tool uses in the model's order, then the end of the request.
 * A response cut off by `max_tokens` in the middle of a tool use loses that use: it is never run. Tool uses beyond
 * `toolUsesPerResponse` are left out too. Both are said in a `session.error`, which does not end the session.
 */
export function responseEvents(
  agent: AgentConfig,
  startId: string,
  response: ModelResponse,
  limits: Limits,
): Recorded[] {
  const { blocks, notes } = runnableBlocks(response, limits);
  return [
    ...contentEvents(agent, blocks),
    requestEnd(startId, response),
    ...notes.map(
      (note): EventDraft => ({
        type: "session.error",
        error: { type: note.type, message: note.message, retry_status: { type: "retrying" } },
      }),
    ),
  ];
}

/**
 * The events of a summary: it stands for the log below `toPosition` from here on. Only its text counts. Without any it
 * is no summary: undefined, and the request counts as failed.
 */
export function summaryEvents(startId: string, toPosition: number, response: ModelResponse): Recorded[] | undefined {
  const summary = response.blocks
    .flatMap((block) => (block.type === "text" ? [block.text] : []))
    .join("\n")
    .trim();
  if (summary === "") return undefined;
  return [
    { type: "agent.thread_context_compacted", from_position: 0, to_position: toPosition, summary },
    requestEnd(startId, response),
  ];
}

function requestEnd(startId: string, response: ModelResponse): EventDraft<"span.model_request_end"> {
  return {
    type: "span.model_request_end",
    model_request_start_id: startId,
    is_error: false,
    model_usage: response.usage,
    stop_reason: response.stopReason,
    time_to_first_token_ms: response.timeToFirstTokenMs,
  };
}

function runnableBlocks(response: ModelResponse, limits: Limits) {
  const notes: { type: string; message: string }[] = [];
  let blocks = response.blocks;
  if (response.stopReason === "max_tokens" && blocks.at(-1)?.type === "tool_use") {
    blocks = blocks.slice(0, -1);
    const message = "The model's answer reached its token limit in the middle of a tool call; that call was not run.";
    notes.push({ type: "model_request_failed_error", message });
  }
  const uses = blocks.filter((block) => block.type === "tool_use");
  if (uses.length > limits.toolUsesPerResponse) {
    const kept = new Set(uses.slice(0, limits.toolUsesPerResponse));
    blocks = blocks.filter((block) => block.type !== "tool_use" || kept.has(block));
    const message = `The model asked for ${uses.length} tools at once; those after the first ${kept.size} were left out.`;
    notes.push({ type: "tool_use_limit_reached_error", message });
  }
  return { blocks, notes };
}

function contentEvents(agent: AgentConfig, blocks: readonly ResponseBlock[]): NewEvent[] {
  const events: NewEvent[] = [];
  for (const block of blocks) {
    const last = events.at(-1);
    if (block.type === "text" && last?.type === "agent.message" && last.id === block.id) {
      last.content.push({ type: "text", text: block.text });
    } else events.push(contentEvent(agent, block));
  }
  return events;
}

function contentEvent(agent: AgentConfig, block: ResponseBlock): NewEvent {
  switch (block.type) {
    case "text":
      return { id: block.id, type: "agent.message", content: [{ type: "text", text: block.text }] };
    case "thinking":
      return {
        id: block.id,
        type: "agent.thinking",
        thinking: block.thinking,
        signature: block.signature,
        redacted_data: "",
      };
    case "redacted_thinking":
      return { id: block.id, type: "agent.thinking", thinking: "", signature: "", redacted_data: block.data };
    case "tool_use":
      return toolUseEvent(agent, block);
    default: {
      const never: never = block;
      return never;
    }
  }
}

/** Why a model request failed. */
export interface ModelFailure {
  readonly kind: "overloaded" | "rateLimited" | "server" | "network" | "refused" | "billing" | "contextOverflow";
  /** For people; never with a secret. */
  readonly message: string;
  /** What the provider asked for, in milliseconds. */
  readonly retryAfterMs?: number;
}

const errorTypes: Record<ModelFailure["kind"], string> = {
  overloaded: "model_overloaded_error",
  rateLimited: "model_rate_limited_error",
  server: "model_request_failed_error",
  network: "model_request_failed_error",
  refused: "model_request_failed_error",
  billing: "billing_error",
  contextOverflow: "model_request_failed_error",
};

/**
 * The events of a failed try (1 for the first): the request is closed, the error said, and either the next try is
 * announced or the turn is given up. A transient error never ends the session. A request that was too long is not
 * repeated: the next decision shortens the context, or gives up.
 */
export function failureEvents(startId: string, failure: ModelFailure, attempt: number, limits: Limits): EventDraft[] {
  if (failure.kind === "contextOverflow") {
    const error = {
      type: errorTypes[failure.kind],
      message: failure.message,
      retry_status: { type: "retrying" as const },
    };
    return [closedRequest(startId, contextOverflow), { type: "session.error", error }];
  }
  const isFinal = failure.kind === "refused" || failure.kind === "billing" || attempt >= limits.modelAttempts;
  const error: EventDraft = {
    type: "session.error",
    error: {
      type: errorTypes[failure.kind],
      message: failure.message,
      retry_status: { type: isFinal ? "exhausted" : "retrying" },
    },
  };
  if (isFinal) return [closedRequest(startId), error];
  const retry_after_ms = modelBackoffMs(limits, attempt, failure.retryAfterMs);
  return [closedRequest(startId), error, { type: "session.status_rescheduled", attempt, retry_after_ms }];
}
