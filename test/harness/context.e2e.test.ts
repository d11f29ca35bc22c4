/** Context strategies, compaction, recall and limits, with real services and a model that refuses what is too long. */
import { newId } from "@manyhands/kit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bed, createSession, isIdle, lastWords, log, logUntil, message, ofType, send, startBed } from "./bed.ts";

const counter = `
name: counter
priority: 50
match: { last_user_text: '\\bcount up\\b' }
rules: [{ when: { tool_result_matches: 'n12' }, goto: done }]
steps:
  - repeat: 12
    label: count
    emit: [{ tool_use: { name: bash, input: { command: 'n=$(($(cat /workspace/n 2>/dev/null || echo 0)+1)); echo $n > /workspace/n; echo "n$n ${"x".repeat(300)}"' } } }]
  - label: done
    emit: [{ text: "Counted to {{tool_result}}" }]
`;
const summary = `
name: summary
priority: 90
match: { last_user_text: 'Summarise it now' }
steps:
  - emit: [{ text: "SUMMARY: the user wants a count up." }]
`;
const recaller = `
name: recaller
priority: 60
match: { last_user_text: '\\brecall the password\\b' }
steps:
  - emit: [{ tool_use: { name: recall, input: { text: "password", types: [user.message], to: 4 } } }]
  - emit: [{ text: "I found: {{tool_result}}" }]
`;
const web = `
name: web
priority: 60
match: { last_user_text: '\\bgo to the web\\b' }
steps:
  - emit:
      - tool_use: { name: web_fetch, input: { url: "https://example.com/" } }
      - tool_use: { name: web_search, input: { query: "hands" } }
  - emit: [{ text: "The web: {{tool_result}}" }]
`;
const crowd = `
name: crowd
priority: 60
match: { last_user_text: '\\ba crowd of tools\\b' }
steps:
  - emit: [${Array.from({ length: 500 }, () => "{ tool_use: { name: lookup, input: {} } }").join(", ")}]
  - emit: [{ text: "Enough." }]
`;

const limitBytes = 9_000;
let bed: Bed;

beforeAll(async () => {
  bed = await startBed(
    { counter, summary, recaller, web, crowd },
    {
      onRequest: ({ body }) => {
        const text = Buffer.from(body ?? "").toString();
        const isTooLong = text.includes("count up") && text.includes("small model") && text.length > limitBytes;
        return isTooLong ? { status: 400, message: "prompt is too long: 3000 tokens > 2000 maximum" } : undefined;
      },
    },
  );
  await bed.startHarness();
});
afterAll(() => bed?.close());

const settings = (text: string) => ({ "manyhands.context": text });

it("summarises a conversation that the model refuses for its length, goes on, and keeps the log whole", async () => {
  const id = await createSession(bed, "count up", { system: "small model" });
  const events = await logUntil(bed, id, isIdle(), 40_000);
  expect(lastWords(events)).toContain("Counted to n12");
  const compacted = ofType(events, "agent.thread_context_compacted");
  expect(compacted.length).toBeGreaterThanOrEqual(1);
  expect(compacted[0]).toMatchObject({ from_position: 0, summary: "SUMMARY: the user wants a count up." });
  expect(ofType(events, "agent.tool_result")).toHaveLength(12);
  expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("end_turn");
  expect(events.map((event) => event.position)).toEqual(events.map((_, index) => index));
  expect(ofType(events, "session.error").map((event) => event.error.retry_status.type)).not.toContain("exhausted");
});

it("ends the turn with an explicit error where everything must be shown, and follows a strategy changed on the live session", async () => {
  const metadata = settings("full");
  const id = await createSession(bed, "count up", { system: "small model" }, "", metadata);
  const events = await logUntil(bed, id, isIdle(), 40_000);
  expect(ofType(events, "session.error").at(-1)?.error).toMatchObject({ type: "compaction_limit_reached_error" });
  expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("retries_exhausted");
  await bed.sessions.updateSession({
    workspaceId: "wrkspc_test",
    sessionId: id,
    metadata: settings('{"type":"window","keep_requests":2}'),
  });
  await send(bed, id, message("please count up"));
  const after = await logUntil(bed, id, isIdle(2), 40_000);
  expect(lastWords(after)).toContain("Counted to");
});

it("lets the model recall what a reset has taken out of its sight", async () => {
  const id = await createSession(bed, "the password is swordfish", {}, "", settings("reset"));
  await logUntil(bed, id, isIdle());
  await send(bed, id, message("recall the password"));
  const events = await logUntil(bed, id, isIdle(2));
  expect(lastWords(events)).toContain("swordfish");
  expect(ofType(events, "hand.provisioned")).toEqual([]);
  const requests = bed.model.requests.map((request) => Buffer.from(request.body).toString());
  const first = requests.find((text) => text.includes("recall the password"));
  expect(first).not.toContain("swordfish");
});

it("says clearly that the web is not configured", async () => {
  const id = await createSession(bed, "go to the web");
  const events = await logUntil(bed, id, isIdle());
  expect(lastWords(events)).toContain("no egress proxy configured");
  expect(lastWords(events)).toContain("no search provider configured");
  expect(ofType(events, "agent.tool_result").map((event) => event.is_error)).toEqual([true, true]);
});

it("keeps a bounded number of five hundred tool uses, and says so", async () => {
  const lookup = { type: "custom", name: "lookup", description: "Looks up.", input_schema: { type: "object" } };
  const id = await createSession(bed, "a crowd of tools", { tools: [lookup] });
  const events = await logUntil(bed, id, isIdle());
  const uses = ofType(events, "agent.custom_tool_use");
  expect(uses).toHaveLength(48);
  expect(ofType(events, "session.error")[0]?.error).toMatchObject({ type: "tool_use_limit_reached_error" });
  const content = [{ type: "text" as const, text: "found" }];
  await send(
    bed,
    id,
    ...uses.map(
      (use) => ({ id: newId("sevt"), type: "user.custom_tool_result", custom_tool_use_id: use.id, content }) as const,
    ),
  );
  expect(lastWords(await logUntil(bed, id, isIdle(2)))).toBe("Enough.");
});

it("asks byte for byte the same after a crash, on another brain", async () => {
  const id = await createSession(bed, "Hello there");
  await logUntil(bed, id, isIdle());
  await bed.stopHarnesses();
  const doomed = await bed.startHarness({ MH_FAULT_POINT: "during_model_stream" });
  await send(bed, id, message("Are you still the same?"));
  expect(await doomed.ended).toBe("SIGKILL");
  const next = await bed.startHarness();
  await logUntil(bed, id, isIdle(2));
  const bodies = bed.model.requests
    .map((request) => Buffer.from(request.body).toString())
    .filter((text) => text.includes("Are you still the same?"));
  expect(bodies.length).toBe(2);
  expect(bodies[1]).toBe(bodies[0]);
  const events = await log(bed, id);
  expect(ofType(events, "span.model_request_end").at(-1)?.model_usage.cache_read_input_tokens).toBeGreaterThan(0);
  const metrics = await (await fetch(`http://${next.addresses.admin}/metrics`)).text();
  expect(metrics).toMatch(/mh_model_tokens_total\{model="demo-1",kind="cache_read"\} [1-9]/);
});
