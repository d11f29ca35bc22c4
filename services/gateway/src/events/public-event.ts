/**
 * What clients see of a stored event: the public catalogue's fields and no others. Pure.
 *
 * Platform events are hidden unless asked for. `processed_at` is when the log accepted the event: here an event is
 * taken up the moment it is durable, so it is never null, and order by it is order by position. With `platform`, each
 * event also has `x_manyhands` with its position, its brain's epoch, and the payload fields the public shape leaves out
 * (never the model's thinking).
 */
import {
  type ContentBlock,
  isPlatformEvent,
  isUnknownEvent,
  type SessionEvent,
  type UnknownEvent,
} from "@manyhands/core";
import type { PublicEvent } from "../sdk-types.ts";

/** What to show besides the public catalogue. */
export type Visibility = { readonly platform: boolean };

/** The extension that `x_include_platform=true` adds. */
type Extension = { x_manyhands?: Record<string, unknown> };

/** A platform event, or one of a type this version does not know; shown only on request. */
type PlatformEvent = { id: string; type: string; processed_at: string } & Extension & Record<string, unknown>;

/** An event as clients see it. */
export type ShownEvent = (PublicEvent & Extension) | PlatformEvent;

/** The public form of an event, or undefined when it is hidden. */
export function toPublicEvent(event: SessionEvent | UnknownEvent, visibility: Visibility): ShownEvent | undefined {
  const processed_at = new Date(event.at).toISOString();
  if (isUnknownEvent(event)) {
    if (!visibility.platform) return undefined;
    return { id: event.id, type: event.type, processed_at, x_manyhands: extras(event, {}) };
  }
  if (isPlatformEvent(event.type)) {
    if (!visibility.platform) return undefined;
    const { id, type, position: _position, at: _at, epoch: _epoch, ...payload } = event;
    return { id, type, processed_at, ...payload, x_manyhands: extras(event, {}) };
  }
  const { shown, hidden } = project(event, processed_at);
  return visibility.platform ? { ...shown, x_manyhands: extras(event, hidden) } : shown;
}

function extras(event: SessionEvent | UnknownEvent, hidden: Record<string, unknown>): Record<string, unknown> {
  return { position: event.position, epoch: event.epoch, ...hidden };
}

type Projection = { shown: PublicEvent; hidden: Record<string, unknown> };

/** Each public type by hand where its stored payload has more than the public one; the rest passes as it is. */
function project(event: SessionEvent, processed_at: string): Projection {
  const base = { id: event.id, processed_at };
  switch (event.type) {
    case "agent.thinking":
      return only({ ...base, type: event.type });
    case "agent.tool_result": {
      const { tool_use_id, outcome, hand_id } = event;
      return { shown: { ...base, type: event.type, tool_use_id, ...answerOf(event) }, hidden: { outcome, hand_id } };
    }
    case "agent.mcp_tool_result": {
      const { mcp_tool_use_id, outcome } = event;
      return { shown: { ...base, type: event.type, mcp_tool_use_id, ...answerOf(event) }, hidden: { outcome } };
    }
    case "agent.tool_use":
    case "agent.mcp_tool_use": {
      const { evaluation, ...rest } = event;
      const passed = passThrough(rest, processed_at);
      return evaluation ? only({ ...passed.shown, evaluation: evaluationOf(event) } as PublicEvent) : passed;
    }
    case "agent.thread_context_compacted":
      return { shown: { ...base, type: event.type }, hidden: pick(event, ["from_position", "to_position"]) };
    case "span.model_request_start":
      return {
        shown: { ...base, type: event.type },
        hidden: pick(event, ["model", "context_position", "attempt", "purpose"]),
      };
    case "span.model_request_end": {
      const { type, model_request_start_id, is_error, model_usage } = event;
      return {
        shown: { ...base, type, model_request_start_id, is_error, model_usage },
        hidden: pick(event, ["stop_reason", "time_to_first_token_ms"]),
      };
    }
    case "session.status_rescheduled":
      return { shown: { ...base, type: event.type }, hidden: pick(event, ["attempt", "retry_after_ms"]) };
    case "session.status_idle":
      return only({ ...base, type: event.type, stop_reason: stopReason(event), stop_details: stopDetails(event) });
    case "session.usage":
      return only({ ...base, type: event.type, usage: usageOf(event) });
    case "session.updated": {
      const { removed_resource_ids, added_resources, metadata = {}, ...rest } = event;
      const changed = Object.keys(metadata).length === 0 ? rest : { ...rest, metadata };
      return { shown: passThrough(changed, processed_at).shown, hidden: { removed_resource_ids, added_resources } };
    }
    case "session.error":
      return only({ ...base, type: event.type, error: errorOf(event) });
    default:
      return passThrough(event, processed_at);
  }
}

function passThrough(event: SessionEvent, processed_at: string): Projection {
  const { position: _position, at: _at, epoch: _epoch, ...payload } = event;
  const content = "content" in payload && payload.content ? { content: payload.content.map(publicBlock) } : {};
  // Stored payloads have the public field names; the tests hold each of these types against the public catalogue.
  return only({ ...payload, ...content, processed_at } as PublicEvent);
}

function only(shown: PublicEvent): Projection {
  return { shown, hidden: {} };
}

function pick<E extends object, K extends keyof E & string>(event: E, names: readonly K[]): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, event[name]]));
}

type ToolAnswer = { content?: ContentBlock[]; is_error?: boolean };
type PublicResult = Extract<PublicEvent, { type: "agent.tool_result" }>;

function answerOf(event: ToolAnswer): Pick<PublicResult, "content" | "is_error"> {
  return {
    ...(event.content ? { content: event.content.map(publicBlock) } : {}),
    ...(event.is_error === undefined ? {} : { is_error: event.is_error }),
  };
}

type PublicBlock = NonNullable<PublicResult["content"]>[number];

/** The public search result says whether citations are on and tags its parts; the log leaves both out. */
function publicBlock(block: ContentBlock): PublicBlock {
  const shown =
    block.type === "search_result"
      ? {
          ...block,
          citations: { enabled: false },
          content: block.content.map((part) => ({ type: "text" as const, text: part.text })),
        }
      : block;
  return shown as PublicBlock; // the log's union is a superset: `redacted` and any source kind in any block
}

type Evaluation = Extract<PublicEvent, { type: "agent.tool_use" }>["evaluation"];

/** `auto` also tells its own judgement; there is no classifier yet, so its reason is always the same. */
function evaluationOf(event: Stored<"agent.tool_use" | "agent.mcp_tool_use">): Evaluation {
  const { evaluation, evaluated_permission: permission = "ask" } = event;
  if (evaluation?.type !== "auto") return { type: evaluation?.type === "always_ask" ? "always_ask" : "always_allow" };
  const judged = permission === "allow" ? { type: permission } : { type: permission, reason_code: "indeterminate" };
  return { type: "auto", evaluated_permission: judged };
}

type Stored<T extends SessionEvent["type"]> = Extract<SessionEvent, { type: T }>;
type Idle = Extract<PublicEvent, { type: "session.status_idle" }>;
type Category = NonNullable<Idle["stop_details"]>["category"];

function stopReason({ stop_reason }: Stored<"session.status_idle">): Idle["stop_reason"] {
  return stop_reason.type === "requires_action"
    ? { type: "requires_action", event_ids: stop_reason.event_ids ?? [] }
    : { type: stop_reason.type };
}

function stopDetails({ stop_details }: Stored<"session.status_idle">): Idle["stop_details"] {
  if (!stop_details) return null;
  const { type, category, explanation } = stop_details;
  return { type, category: (category || null) as Category, explanation: explanation || null }; // the public list may grow
}

function usageOf({
  usage,
  active_seconds,
}: Stored<"session.usage">): Extract<PublicEvent, { type: "session.usage" }>["usage"] {
  return {
    input_tokens: usage.input_tokens,
    output_tokens: usage.output_tokens,
    cache_read_input_tokens: usage.cache_read_input_tokens,
    cache_creation: { ephemeral_5m_input_tokens: usage.cache_creation_input_tokens },
    active_seconds,
  };
}

type PublicError = Extract<PublicEvent, { type: "session.error" }>["error"];

/** Repository errors always have `repository_url`, null when unknown. */
function errorOf({ error }: Stored<"session.error">): PublicError {
  const shown = error.type.startsWith("repository_") ? { repository_url: null, ...error } : error;
  return shown as PublicError; // the type word comes from the public list; a new one passes as it is
}
