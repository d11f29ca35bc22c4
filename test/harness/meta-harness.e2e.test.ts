/** Several harnesses side by side: chosen, switched in mid-session and back, written by users, replayed. */

import { writeFile } from "node:fs/promises";
import path from "node:path";
import { create } from "@bufbuild/protobuf";
import { createRpcClient, newId, type RpcClient } from "@manyhands/kit";
import { HarnessService, ReplayMode, ReplaySessionRequestSchema } from "@manyhands/protocol";
import { tempDir } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bed, createSession, isIdle, lastWords, logUntil, message, ofType, send, startBed } from "./bed.ts";

const sleepy = `
name: sleepy
priority: 50
match: { last_user_text: '\\bcount while asleep\\b' }
steps:
  - emit: [{ tool_use: { name: bash, input: { command: "sleep 1.5; echo run >> /workspace/runs; cat /workspace/runs" } } }]
  - emit: [{ text: "Runs: {{tool_result}}" }]
`;
const sdk = path.resolve(import.meta.dirname, "../../packages/harness-sdk/src/index.ts");
const example = path.resolve(import.meta.dirname, "../../examples/harness/night-shift.ts");
const candidate = `
import { decide, defineHarness, withModelCall } from ${JSON.stringify(sdk)};
const next = (view) => withModelCall(decide(view), (call) => ({ ...call, model: "demo-candidate" }));
export default [
  defineHarness({ kind: "default", version: "2.0.0-rc", next }),
  defineHarness({ kind: "default", version: "1.0.1", next: decide }),
  defineHarness({ kind: "quiet", version: "1.0.0", next: (view) => decide({ ...view, limits: { ...view.limits, toolCallsPerTurn: 0 } }) }),
];
`;

let bed: Bed;
let harness: RpcClient<typeof HarnessService>;
let modules: Awaited<ReturnType<typeof tempDir>>;

beforeAll(async () => {
  modules = await tempDir("manyhands-modules-");
  const file = path.join(modules.path, "candidate.ts");
  await writeFile(file, candidate);
  bed = await startBed({ sleepy });
  const started = await bed.startHarness({ MH_CHEAP_MODEL: "demo-small", MH_HARNESS_MODULES: `${file},${example}` });
  harness = createRpcClient(HarnessService, { address: started.addresses.grpc ?? "", defaultDeadlineMs: 20_000 });
});
afterAll(async () => {
  harness?.close();
  await bed?.close();
  await modules?.cleanup();
});

it("tells every kind and version it has", async () => {
  const { kinds } = await harness.describeHarness({});
  expect(kinds.map(({ kind, version }) => `${kind}@${version}`)).toEqual([
    "default@1.0.0",
    "cheap-first@1.0.0",
    "default@2.0.0-rc",
    "default@1.0.1",
    "quiet@1.0.0",
    "night-shift@1.0.0",
  ]);
});

it("drives a session with the example of a harness", async () => {
  const sessionId = await createSession(bed, "Run 8 steps");
  await harness.switchHarness({ sessionId, kind: "night-shift" });
  const events = await logUntil(bed, sessionId, isIdle());
  expect(ofType(events, "brain.woken").at(-1)?.harness_kind).toBe("night-shift");
  expect(ofType(events, "operation.dispatched").length).toBeLessThanOrEqual(5);
  expect(ofType(events, "session.status_idle").at(-1)?.stop_reason.type).toBe("retries_exhausted");
});

it("drives a session with another kind from the next event on, and back, in the middle of its life", async () => {
  const sessionId = await createSession(bed, "Hello");
  await logUntil(bed, sessionId, isIdle());
  expect(await harness.switchHarness({ sessionId, kind: "cheap-first" })).toMatchObject({ alreadySo: false });
  await send(bed, sessionId, message("And now?"));
  await logUntil(bed, sessionId, isIdle(2));
  expect(await harness.switchHarness({ sessionId, kind: "cheap-first" })).toMatchObject({ alreadySo: true });
  await harness.switchHarness({ sessionId, kind: "default" });
  await send(bed, sessionId, message("And back?"));
  const events = await logUntil(bed, sessionId, isIdle(3));
  expect(ofType(events, "brain.woken").map((event) => event.harness_kind)).toEqual([
    "default",
    "cheap-first",
    "default",
  ]);
  expect(ofType(events, "span.model_request_start").map((event) => event.model)).toEqual([
    "demo-1",
    "demo-small",
    "demo-1",
  ]);
  expect(ofType(events, "session.harness_changed").map(({ from_kind, to_kind }) => [from_kind, to_kind])).toEqual([
    ["default", "cheap-first"],
    ["cheap-first", "default"],
  ]);
});

it("switches while a tool runs: the next brain of the other kind follows it, and it runs once", async () => {
  const sessionId = await createSession(bed, "count while asleep");
  await logUntil(bed, sessionId, (events) => events.some((event) => event.type === "operation.dispatched"));
  await harness.switchHarness({ sessionId, kind: "cheap-first" });
  const events = await logUntil(bed, sessionId, isIdle());
  expect(lastWords(events).trim()).toBe("Runs: run");
  expect(ofType(events, "brain.woken").map((event) => event.harness_kind)).toEqual(["default", "cheap-first"]);
  expect(ofType(events, "operation.dispatched")).toHaveLength(1);
});

it("refuses a kind that nobody ever registered", async () => {
  const sessionId = await createSession(bed, "Hello");
  const switched = harness.switchHarness({ sessionId, kind: "unheard-of" });
  await expect(switched).rejects.toMatchObject({ reason: "HARNESS_UNKNOWN" });
});

async function replay(sessionId: string, kind: string, version: string, mode: ReplayMode, settings = {}) {
  const steps = [];
  const request = create(ReplaySessionRequestSchema, { sessionId, kind, version, mode, settings });
  for await (const step of harness.replaySession(request)) steps.push(step);
  return steps;
}

it("replays a log: the same program agrees with every decision, another one differs at a named place", async () => {
  const sessionId = await createSession(bed, "Run 3 steps", {}, newId("sesn"));
  const events = await logUntil(bed, sessionId, isIdle());
  const same = await replay(sessionId, "default", "1.0.1", ReplayMode.RECORDED);
  expect(same.map((step) => step.difference)).toEqual(same.map(() => ""));
  expect(new Set(same.map((step) => step.recorded.split(" ")[0]))).toEqual(new Set(["asks", "runs", "ends"]));
  expect(same.at(-1)?.recorded).toBe("ends the turn (end_turn)");
  const last = same.findLast((step) => step.triedRequest !== undefined)?.triedRequest;
  expect(Number(last?.cachedTokens) / Number(last?.inputTokens)).toBeGreaterThan(0.8);

  const other = await replay(sessionId, "default", "2.0.0-rc", ReplayMode.RECORDED);
  const first = other.findIndex((step) => step.diverged);
  expect(first).toBe(0);
  expect(other.filter((step) => step.diverged)).toHaveLength(1);
  expect(other[0]?.difference).toBe("the log asks demo-1; the tried harness asks demo-candidate");
  expect(Number(other[0]?.position)).toBe(ofType(events, "span.model_request_start")[0]?.position);

  const quiet = await replay(sessionId, "quiet", "1.0.0", ReplayMode.RECORDED);
  expect(quiet.find((step) => step.diverged)?.tried).toBe("ends the turn (retries_exhausted)");

  const window = { "manyhands.context": '{"type":"window","keep_requests":1}' };
  const narrow = await replay(sessionId, "default", "", ReplayMode.RECORDED, window);
  const before = narrow.findLast((step) => step.recordedRequest !== undefined);
  expect(Number(before?.triedRequest?.turns)).toBeLessThan(Number(before?.recordedRequest?.turns));
});

it("replays in the shadow: the model is asked, no tool runs, nothing is written", async () => {
  const sessionId = await createSession(bed, "Run 2 steps", {}, newId("sesn"));
  const events = await logUntil(bed, sessionId, isIdle());
  const asked = bed.model.requests.length;
  const steps = await replay(sessionId, "default", "", ReplayMode.SHADOW);
  expect(steps.map((step) => step.difference)).toEqual(steps.map(() => ""));
  expect(bed.model.requests.length - asked).toBe(ofType(events, "span.model_request_start").length);
  expect((await logUntil(bed, sessionId, isIdle())).length).toBe(events.length);
});
