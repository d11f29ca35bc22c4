/** A hand that a session was granted: its model uses the other session's live one, until the right ends. */
import { createRpcClient, type RpcClient } from "@manyhands/kit";
import { SandboxService } from "@manyhands/protocol";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bed, createSession, isIdle, lastWords, log, logUntil, message, ofType, send, startBed } from "./bed.ts";

const keep = `
name: keep
priority: 50
match: { last_user_text: '\\bkeep-it\\b' }
steps:
  - emit: [{ tool_use: { name: bash, input: { command: "mkdir /workspace/sub; cd /workspace/sub; echo kept > /workspace/file" } } }]
  - emit: [{ text: "Kept." }]
`;
const use = `
name: use
priority: 50
match: { last_user_text: '\\buse-hand (?<hand>\\S+) (?<file>\\S+)' }
steps:
  - emit: [{ tool_use: { name: bash, input: { hand: "{{match.hand}}", command: "pwd; cat /workspace/{{match.file}}; echo b >> /workspace/{{match.file}}" } } }]
  - emit: [{ text: "Said: {{tool_result}}" }]
`;

let bed: Bed;
let sandboxes: RpcClient<typeof SandboxService>;
const requests: string[] = [];

beforeAll(async () => {
  bed = await startBed(
    { keep, use },
    {
      onRequest: ({ body }) => {
        requests.push(Buffer.from(body).toString("utf8"));
        return undefined;
      },
    },
  );
  sandboxes = createRpcClient(SandboxService, { address: bed.sandboxAddress, defaultDeadlineMs: 20_000 });
  await bed.startHarness();
});
afterAll(async () => {
  sandboxes?.close();
  await bed?.close();
});

it("lets a session's model work in another one's live hand by the grant in its log, and no longer than that", async () => {
  const [a, b] = await Promise.all([createSession(bed, "keep-it"), createSession(bed, "hello")]);
  const handId = ofType(await logUntil(bed, a, isIdle()), "hand.provisioned")[0]?.hand_id ?? "";
  await logUntil(bed, b, isIdle());
  const askB = async (words: string, turn: number) => {
    await send(bed, b, message(words));
    return logUntil(bed, b, isIdle(turn));
  };
  // Without a right: told so, and no hand of its own is made for it.
  expect(lastWords(await askB(`use-hand ${handId} file`, 2))).toContain(
    `no right to use bash in the sandbox ${handId}`,
  );

  const { grantId } = await sandboxes.grant({ handId, sessionId: a, toSessionId: b, rights: ["execute"] });
  const before = requests.length;
  const used = await askB(`use-hand ${handId} file`, 3);
  expect(lastWords(used)).toBe("Said: /workspace/sub\nkept\n");
  const [dispatched] = ofType(used, "operation.dispatched");
  expect(dispatched).toMatchObject({ hand_id: handId, grant_id: grantId });
  expect(ofType(used, "agent.tool_result").at(-1)).toMatchObject({ hand_id: handId, outcome: "COMPLETED" });
  expect(ofType(used, "hand.provisioned")).toEqual([]);
  const offered = (text: string) => text.includes(`"enum":["${handId}"]`);
  expect(requests.slice(0, before).some(offered)).toBe(false);
  expect(requests.slice(before).every(offered)).toBe(true);
  await send(bed, a, message(`use-hand ${handId} file`)); // A itself, by its own hand's name: both work in one shell
  expect(lastWords(await logUntil(bed, a, isIdle(2)))).toBe("Said: /workspace/sub\nkept\nb\n");

  await sandboxes.revokeGrant({ grantId, sessionId: a });
  const ended = await askB(`use-hand ${handId} file`, 4);
  expect(ofType(ended, "agent.tool_result").at(-1)).toMatchObject({ outcome: "NOT_STARTED", is_error: true });
  expect(lastWords(ended)).toContain("no right to use bash");
  expect(offered(requests.at(-1) ?? "")).toBe(false);
  for (const session of [a, b]) {
    const told = (await log(bed, session)).filter(({ type }) => type === "hand.granted" || type === "hand.revoked");
    expect(told).toMatchObject([{ grant_id: grantId, hand_id: handId }, { grant_id: grantId }]);
  }
}, 60_000);

it("goes on with a call in a granted hand after the brain that sent it was killed: it runs once", async () => {
  const [a, b] = await Promise.all([createSession(bed, "keep-it"), createSession(bed, "hello")]);
  const handId = ofType(await logUntil(bed, a, isIdle()), "hand.provisioned")[0]?.hand_id ?? "";
  await logUntil(bed, b, isIdle());
  await sandboxes.grant({ handId, sessionId: a, toSessionId: b, rights: ["execute"] });
  await bed.stopHarnesses();
  const doomed = await bed.startHarness({ MH_FAULT_POINT: "after_execute_returned" });
  await send(bed, b, message(`use-hand ${handId} once`));
  await doomed.ended;
  await bed.startHarness();
  const used = await logUntil(bed, b, isIdle(2));
  const dispatched = ofType(used, "operation.dispatched");
  expect(dispatched).toHaveLength(1);
  const told = ofType(await log(bed, a), "hand.used");
  expect(told).toMatchObject([{ by_session_id: b, operation_id: dispatched[0]?.operation_id, tool: "bash" }]);
  await send(bed, a, message(`use-hand ${handId} once`));
  expect(lastWords(await logUntil(bed, a, isIdle(2)))).toBe("Said: /workspace/sub\nb\n");
}, 60_000);
