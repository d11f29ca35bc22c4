/** The hand that is asked for while the model still writes its first tool use. */
import { createRpcClient, type RpcClient } from "@manyhands/kit";
import { HandState, SandboxService } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bed, createSession, isIdle, log, logUntil, ofType, send, startBed } from "../harness/bed.ts";

const slowWriter = `
name: slow-writer
priority: 50
match: { last_user_text: '\\bwrite slowly\\b' }
tokens_per_second: 20
steps:
  - emit: [{ tool_use: { name: write, input: { file_path: /workspace/a, content: "${"slowly does it ".repeat(6)}" } } }]
  - emit: [{ text: "Written." }]
`;

let bed: Bed;
let sandboxes: RpcClient<typeof SandboxService>;

beforeAll(async () => {
  bed = await startBed({ "slow-writer": slowWriter });
  await bed.startHarness();
  sandboxes = createRpcClient(SandboxService, { address: bed.sandboxAddress, defaultDeadlineMs: 10_000 });
});
afterAll(async () => {
  sandboxes?.close();
  await bed?.close();
});

const handsOf = async (sessionId: string) => (await sandboxes.listHands({ sessionId, includeGone: true })).hands;

it("is there before the tool use is in the log, and is the one that the log then names", async () => {
  const sessionId = await createSession(bed, "Please write slowly.");
  const early = await eventually(async () => (await handsOf(sessionId))[0], { timeoutMs: 10_000, everyMs: 10 });
  const before = await log(bed, sessionId);
  expect(ofType(before, "agent.tool_use")).toEqual([]);
  expect(ofType(before, "hand.provisioned")).toEqual([]);
  const events = await logUntil(bed, sessionId, isIdle());
  expect(ofType(events, "hand.provisioned")).toMatchObject([{ hand_id: early?.id, generation: 1 }]);
  expect((await handsOf(sessionId)).map(({ id, state }) => [id, state])).toEqual([[early?.id, HandState.READY]]);
});

it("is given back, and in no log, when the tool use is never finished", async () => {
  const sessionId = await createSession(bed, "Please write slowly.");
  await eventually(async () => (await handsOf(sessionId)).length === 1, { timeoutMs: 10_000, everyMs: 10 });
  await send(bed, sessionId, { id: `sevt_${Date.now()}`, type: "user.interrupt" });
  await logUntil(bed, sessionId, isIdle());
  await eventually(async () => (await handsOf(sessionId))[0]?.state === HandState.RELEASED, { timeoutMs: 10_000 });
  expect(ofType(await log(bed, sessionId), "hand.provisioned")).toEqual([]);
});

it("is not asked for in a session that only talks", async () => {
  const sessionId = await createSession(bed, "Hello!");
  await logUntil(bed, sessionId, isIdle());
  expect(await handsOf(sessionId)).toEqual([]);
});
