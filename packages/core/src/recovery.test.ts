import { describe, expect, it } from "vitest";
import { abandonedDraft, boundText, deniedDraft, followUp, unknownOutcome } from "./recovery.ts";
import type { Call, CallProgress } from "./state.ts";

function call(progress: CallProgress, kind: Call["kind"] = "agent"): Call {
  return { id: "c1", kind, name: "bash", input: {}, ordinal: 1, progress };
}
const dispatched = call({ at: "dispatched", handId: "hand_1", epoch: 1, attempt: 1 });

describe("the crash table of one operation", () => {
  it.each([
    ["COMPLETED", 1, "useResult"],
    ["KILLED", 1, "useResult"],
    ["RUNNING", 1, "keepFollowing"],
    ["NOT_STARTED", 1, "sendAgain"],
    ["NOT_STARTED", 3, "useResult"],
    ["UNKNOWN", 1, "sayUnknown"],
  ] as const)("%s at attempt %i → %s", (outcome, attempt, expected) => {
    expect(followUp(outcome, attempt, 3)).toBe(expected);
  });
});

describe("words to the model", () => {
  it("says that an unknown outcome may have happened, whether the sandbox is lost, and to verify", () => {
    expect(unknownOutcome(dispatched, true)).toMatch(
      /outcome .* unknown.*may have completed.*sandbox .* was lost.*Verify/,
    );
    expect(unknownOutcome(dispatched, false)).toContain("The sandbox was not replaced");
  });

  it("never says that a dispatched call did not run", () => {
    expect(abandonedDraft(dispatched, "stop")).toMatchObject({ outcome: "UNKNOWN", is_error: true, hand_id: "hand_1" });
    expect(abandonedDraft(call({ at: "ready" }), "stop")).toMatchObject({ outcome: "NOT_STARTED", is_error: true });
  });

  it("passes the user's reason on", () => {
    expect(JSON.stringify(deniedDraft(call({ at: "denied", message: "too risky" })))).toContain("too risky");
  });
});

describe("bounded text", () => {
  it("keeps head and tail and says how much is missing", () => {
    const bounded = boundText(`head${"x".repeat(10_000)}tail`, 1_000);
    expect(bounded).toMatch(/^headx+\n\[… 9008 bytes left out …\]\nx+tail$/);
    expect(boundText("short", 1_000)).toBe("short");
  });

  it("never cuts a character in half", () => {
    expect(boundText("€".repeat(1_000), 100)).not.toContain("\uFFFD");
  });
});
