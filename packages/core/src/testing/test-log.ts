/** Writes logs for the core's own tests: events get ids, positions and times as the store would give them. */
import type { EventDraft } from "../actions.ts";
import type { JsonObject, NewEvent, SessionEvent } from "../events.ts";

/** An event as tests write it: an id only where it matters, an epoch only for brains. */
export type Written = (NewEvent | EventDraft) & { epoch?: number };

/** When the first event of a test log was accepted. */
export const startMs = 1_700_000_000_000;

/** Events as stored, one second apart, numbered from `from`. */
export function stored(events: readonly Written[], from = 0): SessionEvent[] {
  return events.map((event, index) => {
    const position = from + index;
    const id = "id" in event ? event.id : `sevt_${position}`;
    const envelope = { id, position, at: startMs + position * 1_000, epoch: event.epoch ?? 0 };
    return { ...event, ...envelope } as SessionEvent; // the envelope is what NewEvent lacks
  });
}

/** `session.created` of an agent with the built-in tools, one custom tool and one MCP server. */
export function created(agent: JsonObject = {}, environment: JsonObject = { config: { type: "cloud" } }): Written {
  return {
    type: "session.created",
    workspace_id: "wrkspc_1",
    agent: {
      model: { id: "demo-1" },
      system: "You fix bugs.",
      tools: [
        {
          type: "agent_toolset_20260401",
          configs: [
            { name: "write", permission_policy: { type: "always_ask" } },
            { name: "grep", enabled: false },
          ],
        },
        { type: "custom", name: "lookup", description: "Looks up.", input_schema: { type: "object", properties: {} } },
        { type: "mcp_toolset", mcp_server_name: "tickets" },
      ],
      ...agent,
    },
    environment,
    title: "",
    metadata: {},
    resources: [],
    vault_ids: [],
    harness_kind: "default",
    budget: null,
  };
}

/** A user's message. */
export function said(text: string): Written {
  return { type: "user.message", content: [{ type: "text", text }] };
}

/** A model request begins. */
export function requested(id: string, context_position: number, epoch = 1): Written {
  return { id, epoch, type: "span.model_request_start", model: "demo-1", context_position, attempt: 1 };
}

/** A model request ended. */
export function ended(startId: string, stop_reason: string, isError = false): Written {
  return {
    epoch: 1,
    type: "span.model_request_end",
    model_request_start_id: startId,
    is_error: isError,
    model_usage: { input_tokens: 10, output_tokens: 5, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
    stop_reason,
    time_to_first_token_ms: 20,
  };
}

/** The model's words. */
export function answered(text: string): Written {
  return { epoch: 1, type: "agent.message", content: [{ type: "text", text }] };
}

/** The model asks for a tool. */
export function used(id: string, name = "bash", permission: "allow" | "ask" | "deny" = "allow"): Written {
  return { id, epoch: 1, type: "agent.tool_use", name, input: { command: id }, evaluated_permission: permission };
}

/** A tool answered. */
export function result(tool_use_id: string, text = "ok"): Written {
  return {
    epoch: 1,
    type: "agent.tool_result",
    tool_use_id,
    content: [{ type: "text", text }],
    is_error: false,
    outcome: "COMPLETED",
    hand_id: "hand_1",
  };
}

/** A hand was made. */
export function provisioned(hand_id = "hand_1", generation = 1): Written {
  return {
    epoch: 1,
    type: "hand.provisioned",
    hand_id,
    name: "default",
    driver: "virtual",
    not_isolated: [],
    recipe: {},
    generation,
  };
}

/** An operation was dispatched. */
export function dispatched(operation_id: string, epoch = 1, hand_id = "hand_1"): Written {
  return { epoch, type: "operation.dispatched", operation_id, hand_id, attempt: 1 };
}

/** A brain took the session. */
export function woken(epoch = 1): Written {
  return { epoch, type: "brain.woken", harness_kind: "default", harness_version: "1.0.0", instance_id: "a" };
}

/** The session said that it is running. */
export const running: Written = { epoch: 1, type: "session.status_running" };

/** The turn ended. */
export function idled(
  type: "end_turn" | "requires_action" | "retries_exhausted" = "end_turn",
  ids?: string[],
): Written {
  const stop_reason = ids === undefined ? { type } : { type, event_ids: ids };
  return { epoch: 1, type: "session.status_idle", stop_reason };
}
