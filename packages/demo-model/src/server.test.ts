import Anthropic, {
  APIConnectionError,
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  OverloadedError,
  RateLimitError,
} from "@anthropic-ai/sdk";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createDemoModel, type DemoModel } from "./index.ts";
import { TOOLS } from "./testing/toolset.ts";

let model: DemoModel;
let client: Anthropic;

beforeEach(async () => {
  model = await createDemoModel();
  client = clientOf(model);
});
afterEach(() => model.close());

describe("authentication", () => {
  test("accepts any key, and any bearer token", async () => {
    expect((await ask(client, "Hi")).stop_reason).toBe("end_turn");
    const bearer = new Anthropic({ baseURL: model.url, apiKey: null, authToken: "session-token", maxRetries: 0 });
    expect((await ask(bearer, "Hi")).stop_reason).toBe("end_turn");
  });

  test("refuses a request without a key, and a wrong key when one is required", async () => {
    const bare = await fetch(`${model.url}/v1/models`, { headers: { "anthropic-version": "2023-06-01" } });
    expect(bare.status).toBe(401);
    expect(await bare.json()).toMatchObject({ type: "error", error: { type: "authentication_error" } });
    const strict = await createDemoModel({ requiredKey: "right" });
    const error = await failure(ask(clientOf(strict, "wrong"), "Hi"));
    expect(error).toBeInstanceOf(AuthenticationError);
    expect(error).toMatchObject({ status: 401, type: "authentication_error", apiMessage: "Invalid bearer token" });
    const headers = { "x-api-key": "wrong", "anthropic-version": "2023-06-01" };
    const raw = await fetch(`${strict.url}/v1/models`, { headers });
    expect(await raw.json()).toMatchObject({ error: { type: "authentication_error", message: "invalid x-api-key" } });
    expect((await ask(clientOf(strict, "right"), "Hi")).role).toBe("assistant");
    await strict.close();
  });
});

describe("answers", () => {
  test("the stream and the plain answer are the same message", async () => {
    const params = { ...request("Think about it."), thinking: { type: "enabled" as const, budget_tokens: 1024 } };
    const plain = await client.messages.create(params);
    const streamed = await client.messages.stream(params).finalMessage();
    expect(streamed).toEqual({ ...plain, parsed_output: streamed.parsed_output });
    expect(plain.content.map((block) => block.type)).toEqual(["thinking", "text", "tool_use"]);
    expect(plain.stop_reason).toBe("tool_use");
    expect(plain._request_id).toMatch(/^req_/);
  });

  test("events come in the official order, with a ping and the tool's input in several pieces", async () => {
    const params = { ...request("Think about it."), thinking: { type: "enabled" as const, budget_tokens: 1024 } };
    const response = await client.messages.create({ ...params, stream: true }).asResponse();
    const events = [...(await response.text()).matchAll(/^event: (.*)\ndata: (.*)$/gm)].map(([, name, data]) => {
      const value = JSON.parse(data ?? "") as { type: string; delta?: { type?: string } };
      expect(value.type).toBe(name);
      return value.delta?.type ?? value.type;
    });
    const runs = events.filter((name, index) => name !== events[index - 1]);
    expect(runs).toEqual([
      "message_start",
      "content_block_start",
      "ping",
      "thinking_delta",
      "signature_delta",
      "content_block_stop",
      "content_block_start",
      "text_delta",
      "content_block_stop",
      "content_block_start",
      "input_json_delta",
      "content_block_stop",
      "message_delta",
      "message_stop",
    ]);
    expect(events.filter((name) => name === "input_json_delta").length).toBeGreaterThan(2);
    expect(response.headers.get("content-type")).toContain("text/event-stream");
  });

  test("three tool uses come in one response with different ids", async () => {
    const answer = await client.messages.stream(request("Use tools in parallel")).finalMessage();
    const ids = answer.content.flatMap((block) => (block.type === "tool_use" ? [block.id] : []));
    expect(new Set(ids).size).toBe(3);
  });

  test("the same request gets the same bytes from another server", async () => {
    const other = await createDemoModel();
    const [one, two] = await Promise.all([model, other].map((each) => streamText(each)));
    expect(one).toBe(two);
    await other.close();
  });

  test("a tool that was not offered is not used", async () => {
    const answer = await client.messages.create({ ...request("Use tools in parallel"), tools: [] });
    expect(answer.stop_reason).toBe("end_turn");
    expect(JSON.stringify(answer.content)).toContain("not given");
  });

  test("tools are not used when the request forbids them", async () => {
    const answer = await client.messages.create({
      ...request("Use tools in parallel"),
      tool_choice: { type: "none" },
    });
    expect(answer.stop_reason).toBe("end_turn");
  });

  test("waits before the headers and before the first block as long as the scenario says", async () => {
    const steps = [{ emit: [{ text: "late" }], delay_ms: 40, first_token_ms: 60 }];
    const slow = await createDemoModel({ scenarios: [{ name: "slow", match: { default: true }, steps }] });
    const stream = clientOf(slow).messages.stream(request("Hi"));
    const askedAt = performance.now();
    await stream.emitted("connect");
    expect(performance.now() - askedAt).toBeGreaterThanOrEqual(39);
    await stream.emitted("text");
    expect(performance.now() - askedAt).toBeGreaterThanOrEqual(98);
    await stream.done();
    await slow.close();
  });

  test("max_tokens and stop_sequences end a text early", async () => {
    const short = await client.messages.create({ ...request("Hi"), max_tokens: 3 });
    expect(short).toMatchObject({ stop_reason: "max_tokens", content: [{ type: "text", text: "Hello! I am " }] });
    const stopped = await client.messages.create({ ...request("Hi"), stop_sequences: ["demo"] });
    expect(stopped).toMatchObject({ stop_reason: "stop_sequence", stop_sequence: "demo" });
  });

  test("beta messages, count_tokens and the model list answer the official client", async () => {
    const beta = await client.beta.messages.create({ ...request("Hi"), betas: ["managed-agents-2026-04-01"] });
    expect(beta.content[0]).toMatchObject({ type: "text" });
    const { input_tokens } = await client.messages.countTokens({ model: "m", messages: request("Hi").messages });
    expect(input_tokens).toBeGreaterThan(0);
    const models = [];
    for await (const each of client.models.list({ limit: 2 })) models.push(each.id);
    expect(models).toHaveLength(4);
    expect((await client.models.retrieve("claude-demo")).display_name).toBe("Manyhands demo model");
    expect(await failure(client.models.retrieve("no-such-model"))).toBeInstanceOf(NotFoundError);
  });
});

describe("failures", () => {
  test("overloaded twice, then the client's retries succeed", async () => {
    const answer = await ask(clientOf(model, "any", 2), "demo error: overloaded");
    expect(answer.content).toMatchObject([{ text: "I was overloaded twice. Now it works." }]);
    expect(model.requests.map((entry) => entry.answer.status)).toEqual([529, 529, 200]);
    expect(await failure(ask(client, "demo error: overloaded"))).toBeInstanceOf(OverloadedError);
  });

  test.each([
    ["demo error: rate limit", RateLimitError, 429, "rate_limit_error"],
    ["demo error: internal", InternalServerError, 500, "api_error"],
    ["demo error: refused", AuthenticationError, 401, "authentication_error"],
  ])("%s is a typed error with a request id", async (text, type, status, name) => {
    const error = await failure(ask(client, text));
    expect(error).toBeInstanceOf(type);
    expect(error).toMatchObject({ status, type: name, requestID: expect.stringMatching(/^req_/) });
    if (error instanceof RateLimitError) expect(error.headers.get("retry-after")).toBe("1");
  });

  test("a cut connection fails after exactly the bytes asked for, and the next try is whole", async () => {
    const error = await failure(client.messages.stream(request("demo error: cut")).finalMessage());
    expect(error).toBeInstanceOf(Error);
    expect(model.requests[0]?.answer.ending).toBe("cut");
    const whole = await client.messages.stream(request("demo error: cut")).finalMessage();
    expect(whole.stop_reason).toBe("end_turn");
    expect((await cutBytes(model)).byteLength).toBe(700);
  });

  test("an error event in mid-stream is an API error of its type", async () => {
    const error = await failure(client.messages.stream(request("demo error: midstream")).finalMessage());
    expect(error).toBeInstanceOf(APIError);
    expect(error).toMatchObject({ type: "overloaded_error" });
  });

  test("broken JSON in mid-stream fails the client", async () => {
    const stream = new Anthropic({ baseURL: model.url, apiKey: "k", maxRetries: 0, logLevel: "off" }).messages.stream(
      request("demo error: malformed"),
    );
    expect(await failure(stream.finalMessage())).toBeInstanceOf(Error);
  });

  test("silence lasts until the client gives up", async () => {
    const stream = client.messages.stream(request("demo error: hang"));
    stream.on("streamEvent", () => stream.abort());
    expect(await failure(stream.finalMessage())).toBeInstanceOf(Error);
    await expect.poll(() => model.requests[0]?.answer.endedAtMs).toBeGreaterThan(0);
    expect(model.requests[0]?.answer.ending).toBe("hang");
  });

  test("a caller of the server can force a failure on any request", async () => {
    let tries = 0;
    const forced = await createDemoModel({ onRequest: () => (tries++ === 0 ? { kind: "cut" } : undefined) });
    expect(await failure(ask(clientOf(forced), "Hi"))).toBeInstanceOf(APIConnectionError);
    expect((await ask(clientOf(forced), "Hi")).stop_reason).toBe("end_turn");
    await forced.close();
  });

  test("close ends a silent answer and frees the port", async () => {
    const pending = failure(client.messages.stream(request("demo error: hang")).finalMessage());
    await expect.poll(() => model.requests[0]?.answer.firstByteAtMs).toBeGreaterThan(0);
    await model.close();
    expect(await pending).toBeInstanceOf(Error);
    await expect(fetch(model.url)).rejects.toThrow();
  });
});

describe("bad requests", () => {
  test.each<[string, object, RegExp]>([
    ["no max_tokens", { max_tokens: undefined }, /^max_tokens: Field required$/],
    ["no model", { model: undefined }, /^model: Field required$/],
    ["no messages", { messages: [] }, /at least one message is required/],
    ["a field nobody knows", { surprise: 1 }, /^surprise: Extra inputs are not permitted$/],
    ["a block nobody knows", { messages: [{ role: "user", content: [{ type: "odd" }] }] }, /^messages\.0\.content/],
    ["a small thinking budget", { thinking: { type: "enabled", budget_tokens: 10 } }, /^thinking\S*budget_tokens/],
    [
      "a budget over max_tokens",
      { thinking: { type: "enabled", budget_tokens: 9000 } },
      /greater than `thinking.budget_tokens`/,
    ],
    ["a tool twice", { tools: [TOOLS[0], TOOLS[0]] }, /Tool names must be unique/],
    ["a choice of no tool", { tool_choice: { type: "tool", name: "fly" } }, /Tool 'fly' not found/],
  ])("%s", async (_name, change, message) => {
    const error = await failure(
      client.messages.create({ ...request("Hi"), ...change } as Anthropic.MessageCreateParamsNonStreaming),
    );
    expect(error).toBeInstanceOf(BadRequestError);
    expect((error as BadRequestError).apiMessage).toMatch(message);
  });

  test("malformed JSON, an unknown path, a wrong method and a missing version are envelopes", async () => {
    const headers = { "x-api-key": "k", "anthropic-version": "2023-06-01" };
    const send = async (path: string, init: RequestInit): Promise<unknown[]> => {
      const response = await fetch(model.url + path, { headers, ...init });
      const body = (await response.json()) as { type: string; error: { type: string }; request_id: string };
      expect(body.request_id).toBe(response.headers.get("request-id"));
      return [response.status, body.type, body.error.type];
    };
    expect(await send("/v1/messages", { method: "POST", body: "{" })).toEqual([400, "error", "invalid_request_error"]);
    expect(await send("/v1/nothing", { method: "POST" })).toEqual([404, "error", "not_found_error"]);
    expect(await send("/v1/messages", { method: "PUT" })).toEqual([405, "error", "invalid_request_error"]);
    const bare = { method: "POST", headers: { "x-api-key": "k" }, body: "{}" };
    expect(await send("/v1/messages", bare)).toEqual([400, "error", "invalid_request_error"]);
    const large = { method: "POST", body: Buffer.alloc(33 * 1024 * 1024, " ") };
    expect(await send("/v1/messages", large)).toEqual([413, "error", "request_too_large"]);
  });
});

test("the journal keeps headers, exact bytes and arrival times, and forgets the oldest", async () => {
  const small = await createDemoModel({ journalSize: 2 });
  const before = performance.now();
  for (const text of ["one", "two", "three"]) await ask(clientOf(small, "secret"), text);
  const bodies = small.requests.map(
    (entry) => JSON.parse(Buffer.from(entry.body).toString()) as { messages: unknown[] },
  );
  expect(bodies.map((body) => body.messages)).toEqual([
    [{ role: "user", content: "two" }],
    [{ role: "user", content: "three" }],
  ]);
  const [first] = small.requests;
  expect(first?.headers.authorization).toBe("Bearer secret");
  expect(first?.headAtMs).toBeGreaterThan(before);
  expect(first?.bodyAtMs).toBeGreaterThanOrEqual(first?.headAtMs ?? Number.POSITIVE_INFINITY);
  expect(first?.answer).toMatchObject({ scenario: "chat", step: "0", status: 200, ending: "complete" });
  await small.close();
});

function clientOf(server: DemoModel, apiKey = "any", maxRetries = 0): Anthropic {
  return new Anthropic({ baseURL: server.url, apiKey, maxRetries });
}

function request(text: string): Anthropic.MessageCreateParamsNonStreaming {
  return { model: "claude-demo", max_tokens: 2000, messages: [{ role: "user", content: text }], tools: TOOLS };
}

function ask(from: Anthropic, text: string): Promise<Anthropic.Message> {
  return from.messages.create(request(text));
}

async function failure(promise: PromiseLike<unknown>): Promise<unknown> {
  return Promise.resolve(promise).then(
    () => expect.fail("the request should have failed"),
    (error: unknown) => error,
  );
}

async function streamText(server: DemoModel): Promise<string> {
  const response = await clientOf(server)
    .messages.create({ ...request("Think about it."), stream: true })
    .asResponse();
  return response.text();
}

/** The bytes a raw client received before its connection broke. */
async function cutBytes(server: DemoModel): Promise<Uint8Array> {
  const response = await fetch(`${server.url}/v1/messages`, {
    method: "POST",
    headers: { "x-api-key": "k", "anthropic-version": "2023-06-01" },
    body: JSON.stringify({ ...request("demo error: cut"), stream: true }),
  });
  const received: Uint8Array[] = [];
  await expect(
    (async () => {
      for await (const chunk of response.body ?? []) received.push(chunk);
    })(),
  ).rejects.toThrow();
  return Buffer.concat(received);
}
