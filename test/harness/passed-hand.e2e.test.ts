/** A hand that became another session's: the brains of both learn it from their logs alone. */
import { createRpcClient } from "@manyhands/kit";
import { SandboxService } from "@manyhands/protocol";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bed, createSession, isIdle, lastWords, log, logUntil, message, ofType, send, startBed } from "./bed.ts";

const scenario = (name: string, command: string) => `
name: ${name}
priority: 50
match: { last_user_text: '\\b${name}\\b' }
steps:
  - emit: [{ tool_use: { name: bash, input: { command: "${command}" } } }]
  - emit: [{ text: "Said: {{tool_result}}" }]
`;

let bed: Bed;

beforeAll(async () => {
  bed = await startBed({
    keep: scenario("keep-it", "echo kept > /workspace/file"),
    look: scenario("look-there", "cat /workspace/file"),
  });
  await bed.startHarness();
});
afterAll(() => bed?.close());

it("lets the next tool call of the new session go on in the transferred hand, and the former one make its own", async () => {
  const sandboxes = createRpcClient(SandboxService, { address: bed.sandboxAddress, defaultDeadlineMs: 20_000 });
  try {
    const [a, b] = await Promise.all([createSession(bed, "keep-it"), createSession(bed, "hello")]);
    const before = await logUntil(bed, a, isIdle());
    const handId = ofType(before, "hand.provisioned")[0]?.hand_id ?? "";
    expect(ofType(await logUntil(bed, b, isIdle()), "hand.provisioned")).toEqual([]);
    await sandboxes.transferHand({ handId, sessionId: a, toSessionId: b });
    await Promise.all([a, b].map((sessionId) => send(bed, sessionId, message("look-there"))));
    const [ofA, ofB] = await Promise.all([a, b].map((sessionId) => logUntil(bed, sessionId, isIdle(2))));
    expect(lastWords(ofB ?? [])).toBe("Said: kept\n");
    expect(ofType(ofB ?? [], "hand.provisioned").map(({ hand_id }) => hand_id)).toEqual([handId]);
    expect(lastWords(ofA ?? [])).toContain("No such file");
    const ownHands = ofType(await log(bed, a), "hand.provisioned").map(({ hand_id }) => hand_id);
    expect(ownHands).toHaveLength(2);
    expect(ownHands[1]).not.toBe(handId);
    expect(ofType(ofA ?? [], "hand.released")).toMatchObject([{ hand_id: handId, reason: "transferred" }]);
  } finally {
    sandboxes.close();
  }
});
