/** Everything a model can do wrong, and every limit of a turn: the session says what happened and always goes on. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Bed, createSession, isIdle, lastWords, logUntil, message, ofType, send, startBed } from "./bed.ts";

const scenario = (name: string, steps: string) =>
  `name: ${name}\npriority: 80\nmatch: { last_user_text: '\\b${name.replaceAll("-", " ")}\\b' }\nsteps:\n${steps}\n`;

let bed: Bed;

beforeAll(async () => {
  bed = await startBed({
    // Until the user says that it has passed: the unanswered message is shown again with the next one.
    forever: `name: forever\npriority: 80\nmatch: { last_user_text: 'fail for ever(?![^]*has passed)' }\nsteps: [{ error: { status: 529 } }]\n`,
    declined: scenario("decline-this", "  - stop_reason: refusal\n    emit: [{ text: 'I will not.' }]"),
    long: scenario("talk-too-long", "  - stop_reason: max_tokens\n    emit: [{ text: 'and so on and' }]"),
    half: scenario(
      "half-a-call",
      "  - stop_reason: max_tokens\n    emit: [{ text: 'I run' }, { tool_use: { name: bash, input: { command: 'echo ran >> /workspace/ran' } } }]\n  - emit: [{ text: 'Told.' }]",
    ),
    broken: scenario(
      "broken-input",
      `  - emit: [{ tool_use: { name: bash, input: {}, raw_input: '{"command": "echo' } }]\n  - emit: [{ text: 'Told: {{tool_result}}' }]`,
    ),
    twins: scenario(
      "twin-ids",
      "  - emit:\n      - tool_use: { name: bash, id: toolu_same, input: { command: 'echo one' } }\n      - tool_use: { name: bash, id: toolu_same, input: { command: 'echo two' } }\n  - emit: [{ text: 'Got {{tool_result}}' }]",
    ),
    loop: scenario(
      "never-stop",
      "  - repeat: 50\n    emit: [{ tool_use: { name: bash, input: { command: 'echo round' } } }]\n  - emit: [{ text: 'Never.' }]",
    ),
    many: scenario(
      "many-at-once",
      `  - emit: [${Array.from({ length: 12 }, (_, n) => `{ tool_use: { name: bash, input: { command: 'echo ${n}' } } }`).join(", ")}]\n  - emit: [{ text: 'Done.' }]`,
    ),
    flood: scenario(
      "flood-of-output",
      "  - emit: [{ tool_use: { name: bash, input: { command: 'seq 1 9000' } } }]\n  - emit: [{ text: 'Read.' }]",
    ),
    slow: scenario(
      "slow-turn",
      "  - repeat: 5\n    emit: [{ tool_use: { name: bash, input: { command: 'sleep 1.2' } } }]\n  - emit: [{ text: 'Late.' }]",
    ),
  });
  await bed.startHarness({
    MH_MODEL_ATTEMPTS: "3",
    MH_MODEL_IDLE_MS: "500",
    MH_MAX_ITERATIONS: "6",
    MH_MAX_TOOL_CALLS: "10",
    MH_OUTPUT_BYTES: "4096",
    MH_MAX_TURN_MS: "2000",
  });
});
afterAll(() => bed?.close());

const reasons = (events: Awaited<ReturnType<typeof logUntil>>) =>
  ofType(events, "session.status_idle").map((event) => event.stop_reason.type);

describe("a transient failure", () => {
  it.each([
    ["be overloaded", 2, "model_overloaded_error"],
    ["demo error: internal", 1, "model_request_failed_error"],
    ["demo error: cut", 1, "model_request_failed_error"],
    ["demo error: midstream", 1, "model_overloaded_error"],
    ["demo error: malformed", 1, "model_request_failed_error"],
    ["demo error: hang", 1, "model_request_failed_error"],
  ])("%s: is said, tried again, and the turn ends well", async (text, failures, type) => {
    const id = await createSession(bed, text, { tools: [] });
    const events = await logUntil(bed, id, isIdle());
    const errors = ofType(events, "session.error").map((event) => event.error);
    expect(errors.map((error) => [error.type, error.retry_status.type])).toEqual(
      Array.from({ length: failures }, () => [type, "retrying"]),
    );
    expect(ofType(events, "session.status_rescheduled")).toHaveLength(failures);
    expect(reasons(events)).toEqual(["end_turn"]);
    expect(ofType(events, "agent.message")).toHaveLength(1);
  });

  it("rate limited: waits as long as the provider asks", async () => {
    const id = await createSession(bed, "demo error: rate limit", { tools: [] });
    const events = await logUntil(bed, id, isIdle());
    const [again] = ofType(events, "session.status_rescheduled");
    expect(again?.retry_after_ms).toBe(1_000);
    const [first, second] = ofType(events, "span.model_request_start");
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(1_000);
    expect(reasons(events)).toEqual(["end_turn"]);
  });

  it("that does not pass ends the turn after a bounded number of tries, never the conversation", async () => {
    const id = await createSession(bed, "fail for ever", { tools: [] });
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "span.model_request_start")).toHaveLength(3);
    expect(ofType(events, "session.error").at(-1)?.error.retry_status.type).toBe("exhausted");
    expect(reasons(events)).toEqual(["retries_exhausted"]);
    await send(bed, id, message("It has passed."));
    expect(reasons(await logUntil(bed, id, isIdle(2)))).toEqual(["retries_exhausted", "end_turn"]);
  });
});

describe("an answer that is not one", () => {
  it("a refusal ends the turn as refused, and the next message is answered", async () => {
    const id = await createSession(bed, "decline this", { tools: [] });
    expect(reasons(await logUntil(bed, id, isIdle()))).toEqual(["refusal"]);
    await send(bed, id, message("Hello"));
    expect(reasons(await logUntil(bed, id, isIdle(2)))).toEqual(["refusal", "end_turn"]);
  });

  it("text cut off at max_tokens is kept and ends the turn", async () => {
    const id = await createSession(bed, "talk too long", { tools: [] });
    const events = await logUntil(bed, id, isIdle());
    expect([lastWords(events), reasons(events)]).toEqual(["and so on and", ["end_turn"]]);
  });

  it("a tool call cut off at max_tokens is never run, and that is said", async () => {
    const id = await createSession(bed, "half a call");
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "agent.tool_use")).toEqual([]);
    expect(ofType(events, "session.error")[0]?.error.message).toContain("was not run");
  });

  it("input that is no JSON is denied, and the model is told", async () => {
    const id = await createSession(bed, "broken input");
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "agent.tool_use")[0]?.evaluated_permission).toBe("deny");
    expect(ofType(events, "operation.dispatched")).toEqual([]);
    expect(lastWords(events)).toContain("not a valid JSON object");
  });

  it("two tool uses with one id are two operations, each run once", async () => {
    const id = await createSession(bed, "twin ids");
    const events = await logUntil(bed, id, isIdle());
    expect(new Set(ofType(events, "operation.dispatched").map((event) => event.operation_id)).size).toBe(2);
    expect(lastWords(events)).toMatch(/one[\s\S]*two/);
  });
});

describe("a limit", () => {
  it("of model requests ends the turn with words", async () => {
    const id = await createSession(bed, "never stop");
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "span.model_request_start")).toHaveLength(6);
    expect(ofType(events, "session.error")[0]?.error).toMatchObject({ type: "tool_use_limit_reached_error" });
    expect(reasons(events)).toEqual(["retries_exhausted"]);
  });

  it("of tool uses runs those within it, and answers the rest", async () => {
    const id = await createSession(bed, "many at once");
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "operation.dispatched")).toHaveLength(10);
    expect(ofType(events, "agent.tool_result")).toHaveLength(12);
    expect(JSON.stringify(ofType(events, "agent.tool_result").map((event) => event.content))).toContain("at most 10");
  });

  it("of output keeps head and tail of a result", async () => {
    const id = await createSession(bed, "flood of output");
    const [result] = ofType(await logUntil(bed, id, isIdle()), "agent.tool_result");
    const text = JSON.stringify(result?.content);
    expect(text.length).toBeLessThan(6_000);
    expect(text).toContain("bytes left out");
  });

  it("of time ends the turn before the next model request", async () => {
    const id = await createSession(bed, "slow turn");
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "session.error")[0]?.error.message).toContain("limit of 2 seconds");
    expect(ofType(events, "agent.tool_result").length).toBeLessThan(5);
  });

  it("of tokens for the whole session stops before the next model request", async () => {
    const id = await createSession(bed, "Run 3 steps", {}, "", {}, { type: "limit", max_tokens: 200 });
    const events = await logUntil(bed, id, isIdle());
    expect(reasons(events)).toEqual(["budget_reached"]);
    expect(ofType(events, "span.model_request_start")).toHaveLength(1);
  });
});
