import { describe, expect, it } from "vitest";
import type { EventPayloads, EventType, SessionEvent } from "./events.ts";
import { foldHeader, isClosed, needsPayload, type SessionHeader } from "./header.ts";

let position = 0;

function event<T extends EventType>(type: T, payload: EventPayloads[T], epoch = 0): SessionEvent {
  const envelope = { id: `sevt_${position}`, position, at: 1000 + position, epoch };
  position += 1;
  return { ...envelope, type, ...payload } as SessionEvent; // a generic payload is not narrowed to its event
}

const created = () =>
  event("session.created", {
    workspace_id: "w1",
    agent: { id: "agent_1", version: 2 },
    environment: { id: "env_1" },
    title: "t",
    metadata: { a: "1", b: "2" },
    resources: [],
    vault_ids: ["vlt_1"],
    harness_kind: "default",
    budget: null,
  });

/** given events, then the header. */
function given(...make: (() => SessionEvent)[]): SessionHeader {
  position = 0;
  const header = make.map((one) => one()).reduce<SessionHeader | undefined>(foldHeader, undefined);
  if (header === undefined) throw new Error("given nothing");
  return header;
}

const message = () => event("user.message", { content: [{ type: "text", text: "hi" }] });
const idle = () => event("session.status_idle", { stop_reason: { type: "end_turn" } });
const usage = { input_tokens: 1, output_tokens: 2, cache_read_input_tokens: 3, cache_creation_input_tokens: 4 };
const modelEnd = () =>
  event("span.model_request_end", {
    model_request_start_id: "sevt_x",
    is_error: false,
    model_usage: usage,
    stop_reason: "end_turn",
    time_to_first_token_ms: 1,
  });

describe("foldHeader", () => {
  it("is idle with the creation's facts and no stop reason after creation", () => {
    expect(given(created)).toMatchObject({
      workspace_id: "w1",
      status: "idle",
      head_position: 1,
      epoch: 0,
      title: "t",
      vault_ids: ["vlt_1"],
      created_at: 1000,
      updated_at: 1000,
    });
    expect(given(created)).not.toHaveProperty("stop_reason");
  });

  it("runs at once when a client event needs a brain, idles at the turn's end, runs again after the next", () => {
    expect(given(created, message).status).toBe("running");
    expect(given(created, message, idle)).toMatchObject({ status: "idle", stop_reason: { type: "end_turn" } });
    const again = given(created, message, idle, message);
    expect(again.status).toBe("running");
    expect(again).not.toHaveProperty("stop_reason");
  });

  it("stays idle on a system message", () => {
    expect(given(created, () => event("system.message", { content: [] })).status).toBe("idle");
  });

  it("reschedules, and is terminated for good", () => {
    const rescheduled = () => event("session.status_rescheduled", { attempt: 1, retry_after_ms: 5 });
    const terminated = () => event("session.status_terminated", {});
    expect(given(created, message, rescheduled).status).toBe("rescheduling");
    const header = given(created, terminated, message);
    expect(header.status).toBe("terminated");
    expect(isClosed(header)).toBe(true);
  });

  it("sums usage over model requests", () => {
    expect(given(created, modelEnd, modelEnd).usage).toEqual({
      input_tokens: 2,
      output_tokens: 4,
      cache_read_input_tokens: 6,
      cache_creation_input_tokens: 8,
    });
  });

  it("merges metadata, drops emptied keys, keeps the title when it is not named", () => {
    const updated = () => event("session.updated", { metadata: { a: "", c: "3" } });
    expect(given(created, updated)).toMatchObject({ title: "t", metadata: { b: "2", c: "3" } });
    expect(given(created, () => event("session.updated", { title: "" })).title).toBe("");
  });

  it("knows the hands that live", () => {
    const provisioned = (id: string) => () =>
      event("hand.provisioned", {
        hand_id: id,
        name: "default",
        driver: "virtual",
        not_isolated: [],
        recipe: {},
        generation: 1,
      });
    const lost = () => event("hand.lost", { hand_id: "hand_1", reason: "killed" });
    expect(given(created, provisioned("hand_1"), provisioned("hand_2"), lost).hand_ids).toEqual(["hand_2"]);
  });

  it("takes the highest epoch, from the fact and from the envelope", () => {
    const woken = () =>
      event("brain.woken", { epoch: 3, harness_kind: "default", harness_version: "1", instance_id: "i" }, 3);
    expect(given(created, woken, message).epoch).toBe(3);
  });

  it("remembers where the newest checkpoint stands", () => {
    const checkpoint = () => event("context.checkpointed", { up_to_position: 1, fold_version: 1, state: {} });
    expect(given(created)).not.toHaveProperty("checkpoint_position");
    expect(given(created, message, checkpoint, message, checkpoint, message).checkpoint_position).toBe(4);
  });

  it("closes on archive and on delete", () => {
    expect(isClosed(given(created))).toBe(false);
    expect(isClosed(given(created, () => event("session.archived", {})))).toBe(true);
    expect(isClosed(given(created, () => event("session.deleted", {})))).toBe(true);
  });

  it("moves only the head on an unknown event", () => {
    const header = given(created);
    const unknown = { id: "sevt_9", type: "future.thing", position: 1, at: 5000, epoch: 0, unknown: new Uint8Array() };
    expect(foldHeader(header, unknown)).toEqual({ ...header, head_position: 2, updated_at: 5000 });
  });

  it("needs only the envelope of types that it says need no payload", () => {
    for (const type of ["agent.message", "user.message", "user.interrupt", "system.message"] as const) {
      expect(needsPayload(type)).toBe(false);
      const before = given(created);
      const whole = event(type, { content: [{ type: "text", text: "x" }] });
      const bare = { id: whole.id, type, position: whole.position, at: whole.at, epoch: 0, unknown: new Uint8Array() };
      expect(foldHeader(before, whole)).toEqual(foldHeader(before, bare));
    }
    expect(needsPayload("session.created")).toBe(true);
  });
});
