import type { SessionEvent } from "@manyhands/core";
import { describe, expect, it } from "vitest";
import type { StoredEvent } from "./session-log.ts";
import { isSameConversation } from "./steps.ts";

/** The log from position 5 on; a request was shown what lies below. */
function behind(...events: Pick<SessionEvent, "type">[]): StoredEvent[] {
  return events.map((event, at) => {
    const stored = { id: `sevt_${at}`, at: 1, epoch: 1, ...event, position: 5 + at };
    return stored as StoredEvent; // only what is looked at
  });
}

const ended = (is_error: boolean) => ({ type: "span.model_request_end" as const, is_error });

describe("a request whose announcement lost the race for the head", () => {
  it("goes on when only its own taking, another's failed request or a message came first", () => {
    expect(isSameConversation(behind(), 5)).toBe(true);
    const log = behind({ type: "user.message" }, { type: "brain.woken" }, ended(true));
    expect(isSameConversation(log, 5)).toBe(true);
  });

  it("is dropped when another brain's answer or a result came first: it was asked about an older conversation", () => {
    for (const type of ["agent.message", "agent.tool_use", "agent.tool_result", "session.updated"] as const)
      expect(isSameConversation(behind({ type: "brain.woken" }, { type }), 5), type).toBe(false);
    expect(isSameConversation(behind(ended(false)), 5)).toBe(false);
    expect(isSameConversation(behind({ type: "agent.message" }), 6)).toBe(true);
  });
});
