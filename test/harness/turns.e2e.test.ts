import { connectBus, subscribeDeltas, subscribeTail } from "@manyhands/bus";
import { newId, silentLogger } from "@manyhands/kit";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bed, createSession, isIdle, lastWords, log, logUntil, message, ofType, send, startBed } from "./bed.ts";

const sleepy = `
name: sleepy
priority: 50
match: { last_user_text: '\\bsleep for long\\b' }
steps:
  - emit: [{ text: "I sleep." }, { tool_use: { name: bash, input: { command: "sleep 30; echo awake" } } }]
  - emit: [{ text: "Slept: {{tool_result}}" }]
`;
const writer = `
name: writer
priority: 50
match: { last_user_text: '\\bwrite two files\\b' }
steps:
  - emit:
      - tool_use: { name: write, input: { file_path: /workspace/one, content: "1" } }
      - tool_use: { name: write, input: { file_path: /workspace/two, content: "2" } }
  - emit: [{ text: "Written: {{tool_result}}" }]
`;

const asker = `
name: asker
priority: 50
match: { last_user_text: '\\bwhat is the weather\\b' }
steps:
  - emit: [{ tool_use: { name: weather, input: { city: "Bern" } } }]
  - emit: [{ text: "The weather: {{tool_result}}" }]
`;
const slow = `
name: slow
priority: 50
match: { last_user_text: '\\bspeak slowly\\b' }
tokens_per_second: 20
steps:
  - emit: [{ text: "${"slowly does it ".repeat(8)}" }]
  - emit: [{ text: "That was slow." }]
`;

let bed: Bed;

beforeAll(async () => {
  let refusals = 1;
  bed = await startBed(
    { sleepy, writer, slow, asker },
    {
      onRequest: ({ body }) => {
        const isRefused = Buffer.from(body ?? "").includes("be refused once") && refusals > 0;
        if (isRefused) refusals -= 1;
        return isRefused ? { status: 400 } : undefined;
      },
    },
  );
  await bed.startHarness();
});
afterAll(() => bed?.close());

it("answers a message, previews it under the id of its event, and needs two appends", async () => {
  const bus = await connectBus({ url: bed.nats.url, name: "test", logger: silentLogger() });
  try {
    const id = newId("sesn");
    const heard: { id: string; kind: string | undefined; text: string }[] = [];
    await subscribeDeltas(bus, id, ({ eventId, kind }) => {
      heard.push({ id: eventId, kind: kind.case, text: kind.case === "text" ? kind.value.text : "" });
    });
    await createSession(bed, "Hello there", { tools: [] }, id);
    const events = await logUntil(bed, id, isIdle());
    expect(events.map((event) => event.type)).toEqual([
      "session.created",
      "user.message",
      "brain.woken",
      "session.status_running",
      "span.model_request_start",
      "agent.thinking",
      "agent.message",
      "span.model_request_end",
      "session.usage",
      "session.status_idle",
    ]);
    const [spoken] = ofType(events, "agent.message");
    const preview = heard.filter((delta) => delta.id === spoken?.id);
    expect(preview[0]?.kind).toBe("start");
    expect(preview.map((delta) => delta.text).join("")).toBe(lastWords(events));
    expect(new Set(events.slice(2).map((event) => event.at)).size).toBeLessThanOrEqual(2);
  } finally {
    await bus.close();
  }
});

it("runs tools one after another, each once, in one hand", async () => {
  const id = await createSession(bed, "Run 3 steps");
  const events = await logUntil(bed, id, isIdle());
  expect(lastWords(events)).toContain("Finished 3 steps. The log says:\n3");
  expect(ofType(events, "hand.provisioned")).toHaveLength(1);
  expect(ofType(events, "operation.dispatched").map((event) => event.operation_id)).toEqual(
    ofType(events, "agent.tool_use").map((event) => event.id),
  );
  expect(ofType(events, "agent.tool_result").every((event) => event.outcome === "COMPLETED")).toBe(true);
});

it("needs two appends for a tool call: answer with intent, result with the next request", async () => {
  const bus = await connectBus({ url: bed.nats.url, name: "test", logger: silentLogger() });
  try {
    const id = newId("sesn");
    let frames = 0;
    await subscribeTail(bus, id, () => {
      frames += 1;
    });
    await createSession(bed, "Run 3 steps", {}, id);
    const events = await logUntil(bed, id, isIdle());
    const calls = ofType(events, "agent.tool_use").length;
    // Beside them: the creation, the taking, the first hand's own frame, and the end.
    await eventually(() => frames === 2 * calls + 4);
  } finally {
    await bus.close();
  }
});

it("runs parallel tools at the same time and answers in order", async () => {
  const id = await createSession(bed, "Do it in parallel");
  const events = await logUntil(bed, id, isIdle());
  expect(ofType(events, "operation.dispatched")).toHaveLength(3);
  const request = bed.model.requests.findLast((entry) => Buffer.from(entry.body).includes("Do it in parallel"));
  const { messages } = JSON.parse(Buffer.from(request?.body ?? "").toString());
  const results = messages
    .at(-1)
    .content.map((block: { content: { text: string }[] }) => block.content[0]?.text.trim());
  expect(results).toEqual(["first", "second", "third"]);
});

it("goes on in the next turn with what was said before", async () => {
  const id = await createSession(bed, "Hello");
  await logUntil(bed, id, isIdle());
  await send(bed, id, message("And again"));
  const events = await logUntil(bed, id, isIdle(2));
  expect(ofType(events, "brain.woken").map((event) => event.epoch)).toEqual([1, 2]);
  expect(lastWords(events)).toContain("And again");
});

it("tries again when the model is overloaded, and says so", async () => {
  const id = await createSession(bed, "be overloaded");
  const events = await logUntil(bed, id, isIdle());
  expect(ofType(events, "session.status_rescheduled").map((event) => event.attempt)).toEqual([1, 2]);
  expect(ofType(events, "session.error").map((event) => event.error.type)).toEqual([
    "model_overloaded_error",
    "model_overloaded_error",
  ]);
  expect(lastWords(events)).toContain("Now it works");
});

it.each(["cut", "midstream", "malformed", "internal"])("asks again after a broken stream: %s", async (how) => {
  const id = await createSession(bed, `demo error: ${how}`);
  const events = await logUntil(bed, id, isIdle());
  expect(ofType(events, "span.model_request_end").map((event) => event.is_error)).toEqual([true, false]);
  expect(ofType(events, "agent.message")).toHaveLength(1);
});

it("ends the turn, not the session, when the model refuses the request", async () => {
  const id = await createSession(bed, "be refused once");
  const events = await logUntil(bed, id, isIdle());
  expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("retries_exhausted");
  await send(bed, id, message("Hello"));
  expect(lastWords(await logUntil(bed, id, isIdle(2)))).toContain("Hello");
});

it("stops a running tool within a second when the user interrupts", async () => {
  const id = await createSession(bed, "sleep for long");
  await logUntil(bed, id, (events) => events.some((event) => event.type === "operation.dispatched"));
  const startedMs = performance.now();
  await send(bed, id, { id: newId("sevt"), type: "user.interrupt" });
  const events = await logUntil(bed, id, isIdle());
  expect(performance.now() - startedMs).toBeLessThan(1_500);
  const [result] = ofType(events, "agent.tool_result");
  expect(result).toMatchObject({ is_error: true });
  expect(JSON.stringify(result?.content)).toContain("Interrupted by the user");
  expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("end_turn");
  await send(bed, id, message("Hello"));
  await logUntil(bed, id, isIdle(2));
});

it("cuts the model off when the user interrupts, keeps nothing of the half answer, and goes on with the next message", async () => {
  const id = await createSession(bed, "speak slowly");
  await logUntil(bed, id, (events) => events.some((event) => event.type === "span.model_request_start"));
  await send(bed, id, { id: newId("sevt"), type: "user.interrupt" });
  const events = await logUntil(bed, id, isIdle());
  expect(ofType(events, "span.model_request_end").map((event) => event.is_error)).toEqual([true]);
  expect(ofType(events, "agent.message")).toEqual([]);
  expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("end_turn");
});

it("answers messages that were sent while it was busy, in order, in one further request", async () => {
  const id = await createSession(bed, "speak slowly");
  await logUntil(bed, id, (events) => events.some((event) => event.type === "span.model_request_start"));
  await send(bed, id, message("first of two"));
  await send(bed, id, message("second of two"));
  const events = await logUntil(bed, id, isIdle());
  expect(ofType(events, "span.model_request_start")).toHaveLength(2);
  expect(ofType(events, "session.status_idle")).toHaveLength(1);
  const body = Buffer.from(bed.model.requests.at(-1)?.body ?? "").toString();
  const { messages } = JSON.parse(body);
  expect(messages.at(-1).content.map((block: { text: string }) => block.text)).toEqual([
    "first of two",
    "second of two",
  ]);
});

it("asks before a tool whose policy says so, runs what is allowed, and tells the model what is denied", async () => {
  const tools = [
    { type: "agent_toolset_20260401", configs: [{ name: "write", permission_policy: { type: "always_ask" } }] },
  ];
  const id = await createSession(bed, "write two files", { tools });
  const asked = await logUntil(bed, id, isIdle());
  const uses = ofType(asked, "agent.tool_use").map((event) => event.id);
  expect(ofType(asked, "session.status_idle")[0]?.stop_reason).toEqual({ type: "requires_action", event_ids: uses });
  expect(ofType(asked, "hand.provisioned")).toEqual([]);

  const [first = "", second = ""] = uses;
  await send(bed, id, { id: newId("sevt"), type: "user.tool_confirmation", tool_use_id: first, result: "allow" });
  const half = await logUntil(bed, id, isIdle(2));
  expect(ofType(half, "session.status_idle")[1]?.stop_reason).toEqual({ type: "requires_action", event_ids: [second] });

  const denial = { tool_use_id: second, result: "deny", deny_message: "one is enough" } as const;
  await send(bed, id, { id: newId("sevt"), type: "user.tool_confirmation", ...denial });
  const events = await logUntil(bed, id, isIdle(3));
  expect(ofType(events, "operation.dispatched").map((event) => event.operation_id)).toEqual([first]);
  expect(JSON.stringify(ofType(events, "agent.tool_result")[1])).toContain("one is enough");
  expect(ofType(events, "session.status_idle")[2]?.stop_reason.type).toBe("end_turn");
});

it("gives thinking back with its signature, byte for byte: the model accepts its own words", async () => {
  const id = await createSession(bed, "think hard about it");
  const events = await logUntil(bed, id, isIdle());
  expect(ofType(events, "agent.thinking").length).toBeGreaterThanOrEqual(2);
  expect(ofType(events, "agent.thinking")[0]?.signature).not.toBe("");
  expect(lastWords(events)).toContain("the result is 42");
});

it("leaves a custom tool to the client and goes on with its answer", async () => {
  const weather = { type: "custom", name: "weather", description: "Tells it.", input_schema: { type: "object" } };
  const id = await createSession(bed, "what is the weather", { tools: [weather] });
  const asked = await logUntil(bed, id, isIdle());
  const [use] = ofType(asked, "agent.custom_tool_use");
  expect(use?.input).toEqual({ city: "Bern" });
  expect(ofType(asked, "session.status_idle")[0]?.stop_reason).toEqual({
    type: "requires_action",
    event_ids: [use?.id],
  });
  const content = [{ type: "text" as const, text: "rain" }];
  await send(bed, id, {
    id: newId("sevt"),
    type: "user.custom_tool_result",
    custom_tool_use_id: use?.id ?? "",
    content,
  });
  const events = await logUntil(bed, id, isIdle(2));
  expect(lastWords(events)).toBe("The weather: rain");
  expect(ofType(events, "agent.tool_result")).toEqual([]);
});

it("wakes nothing for a session that does not exist", async () => {
  await expect(log(bed, "sesn_nobody")).rejects.toMatchObject({ kind: "notFound" });
});
