import type { EventOf, EventType, NewEvent, SessionEvent } from "@manyhands/core";
import { platformEventTypes } from "@manyhands/core";
import { decodeEvent, encodeEvent, wireEventTypes } from "@manyhands/protocol";
import { describe, expect, test } from "vitest";
import { toPublicEvent } from "./public-event.ts";

const at = Date.UTC(2026, 10, 20, 12);
const processed_at = "2026-11-20T12:00:00.000Z";
const usage = { input_tokens: 1, output_tokens: 2, cache_read_input_tokens: 3, cache_creation_input_tokens: 4 };

/** The event as it comes back from the log. */
function stored<T extends EventType>(event: NewEvent<T>): SessionEvent {
  const decoded = decodeEvent(encodeEvent({ ...event, position: 7, at, epoch: 2 } as SessionEvent));
  if ("unknown" in decoded) throw new Error("not in the catalogue");
  return decoded;
}

const show = (event: NewEvent, platform = false) => toPublicEvent(stored(event), { platform });

describe("payload fields outside the public catalogue are hidden", () => {
  test.each<[NewEvent, object]>([
    [{ id: "sevt_1", type: "agent.thinking", thinking: "secret", signature: "s", redacted_data: "r" }, {}],
    [
      {
        id: "sevt_1",
        type: "agent.tool_result",
        tool_use_id: "sevt_0",
        outcome: "UNKNOWN",
        hand_id: "hand_1",
        content: [{ type: "text", text: "out" }],
        is_error: true,
      },
      { tool_use_id: "sevt_0", content: [{ type: "text", text: "out" }], is_error: true },
    ],
    [
      { id: "sevt_1", type: "agent.mcp_tool_result", mcp_tool_use_id: "sevt_0", outcome: "COMPLETED" },
      { mcp_tool_use_id: "sevt_0" },
    ],
    [{ id: "sevt_1", type: "agent.thread_context_compacted", from_position: 1, to_position: 2, summary: "s" }, {}],
    [{ id: "sevt_1", type: "span.model_request_start", model: "m", context_position: 3, attempt: 1 }, {}],
    [
      {
        id: "sevt_1",
        type: "span.model_request_end",
        model_request_start_id: "sevt_0",
        is_error: false,
        model_usage: usage,
        stop_reason: "end_turn",
        time_to_first_token_ms: 5,
      },
      { model_request_start_id: "sevt_0", is_error: false, model_usage: usage },
    ],
    [{ id: "sevt_1", type: "session.status_rescheduled", attempt: 1, retry_after_ms: 5 }, {}],
  ])("$0.type", (event, fields) => {
    const shown = show(event);
    // Content that the log keeps as an empty list and the public shape leaves out is the same thing to a reader.
    const { content, ...rest } = { content: [], ...shown };
    const { content: wantedContent, ...wanted } = { content: [], ...fields };
    expect(rest).toMatchObject({ id: "sevt_1", type: event.type, processed_at, ...wanted });
    expect(Object.keys(rest).sort()).toEqual(
      ["id", "processed_at", "type", ...Object.keys(wanted)]
        .sort()
        .filter((key, index, all) => all.indexOf(key) === index),
    );
    expect(content).toEqual(wantedContent);
  });
});

test("idle always has stop_details, and event ids only when action is required", () => {
  const idle = (stop_reason: EventOf<"session.status_idle">["stop_reason"]) =>
    show({ id: "sevt_1", type: "session.status_idle", stop_reason });
  expect(idle({ type: "end_turn", event_ids: [] })).toEqual({
    id: "sevt_1",
    type: "session.status_idle",
    processed_at,
    stop_reason: { type: "end_turn" },
    stop_details: null,
  });
  expect(idle({ type: "requires_action", event_ids: ["sevt_0"] })).toMatchObject({
    stop_reason: { type: "requires_action", event_ids: ["sevt_0"] },
  });
});

test("usage, errors, search results and evaluations have the public shape", () => {
  expect(show({ id: "sevt_1", type: "session.usage", usage, active_seconds: 9 })).toMatchObject({
    usage: {
      input_tokens: 1,
      output_tokens: 2,
      cache_read_input_tokens: 3,
      cache_creation: { ephemeral_5m_input_tokens: 4 },
      active_seconds: 9,
    },
  });
  const error = { type: "repository_clone_error", message: "no", retry_status: { type: "retrying" as const } };
  expect(show({ id: "sevt_1", type: "session.error", error })).toMatchObject({
    error: { ...error, repository_url: null },
  });
  const found = { type: "search_result" as const, source: "https://e.example", title: "t", content: [{ text: "x" }] };
  expect(
    show({ id: "sevt_1", type: "user.custom_tool_result", custom_tool_use_id: "sevt_0", content: [found] }),
  ).toMatchObject({
    content: [{ ...found, citations: { enabled: false }, content: [{ type: "text", text: "x" }] }],
  });
  const use = {
    id: "sevt_1",
    type: "agent.tool_use" as const,
    name: "bash",
    input: { command: "ls" },
    evaluated_permission: "ask" as const,
  };
  expect(show({ ...use, evaluation: { type: "auto" } })).toMatchObject({
    input: { command: "ls" },
    evaluation: { type: "auto", evaluated_permission: { type: "ask", reason_code: "indeterminate" } },
  });
  expect(show({ ...use, evaluation: { type: "always_ask" } })).toMatchObject({ evaluation: { type: "always_ask" } });
});

test("platform events and unknown types are hidden unless asked for", () => {
  const lost: NewEvent = { id: "sevt_1", type: "hand.lost", hand_id: "hand_1", reason: "oom" };
  expect(show(lost)).toBeUndefined();
  expect(show(lost, true)).toEqual({
    id: "sevt_1",
    type: "hand.lost",
    processed_at,
    hand_id: "hand_1",
    reason: "oom",
    x_manyhands: { position: 7, epoch: 2 },
  });
  const unknown = { id: "sevt_1", type: "future.thing", position: 7, at, epoch: 2, unknown: new Uint8Array() };
  expect(toPublicEvent(unknown, { platform: false })).toBeUndefined();
  expect(toPublicEvent(unknown, { platform: true })).toEqual({
    id: "sevt_1",
    type: "future.thing",
    processed_at,
    x_manyhands: { position: 7, epoch: 2 },
  });
});

test("the model's thinking is never shown, not even with platform events", () => {
  const thought: NewEvent = {
    id: "sevt_1",
    type: "agent.thinking",
    thinking: "secret",
    signature: "s",
    redacted_data: "r",
  };
  expect(JSON.stringify(show(thought, true))).not.toMatch(/secret|signature|redacted/);
});

test("every type of the catalogue is either public or the platform's", () => {
  const platform = new Set<string>(platformEventTypes);
  for (const type of wireEventTypes) {
    const event = { id: "sevt_1", type, position: 0, at, epoch: 0 } as SessionEvent;
    if (platform.has(type)) expect(toPublicEvent(event, { platform: false })).toBeUndefined();
  }
  expect(wireEventTypes.filter((type) => !platform.has(type))).toHaveLength(42);
});
