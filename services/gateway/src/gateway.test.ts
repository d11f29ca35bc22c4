import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { NotFoundError } from "@anthropic-ai/sdk";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type GatewayHarness,
  keysFileText,
  makeSession,
  startGatewayHarness,
  testKeys,
} from "./testing/gateway-harness.ts";

let gateway: GatewayHarness;
beforeAll(async () => {
  gateway = await startGatewayHarness();
});
afterAll(() => gateway.stop());

async function problem(response: Response): Promise<{ status: number; type: string; message: string }> {
  const body: unknown = await response.json();
  expect(body).toMatchObject({
    type: "error",
    request_id: response.headers.get("request-id"),
    error: { type: expect.any(String) },
  });
  const { error } = body as { error: { type: string; message: string } };
  return { status: response.status, ...error };
}

const json = { "content-type": "application/json" };
const post = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = json) => ({
  method: "POST",
  body,
  headers,
});

describe("auth comes first", () => {
  test("no key, a wrong key and an empty key are 401 on every kind of path", async () => {
    for (const path of ["/v1/agents", "/v1/agents/agent_x", "/v1/files", "/v1/sessions/sesn_x/events/stream"]) {
      expect(await problem(await fetch(`${gateway.url}${path}`))).toMatchObject({
        status: 401,
        type: "authentication_error",
      });
      for (const authorization of ["Bearer wrong", "Bearer ", "Basic abc", `Bearer ${"x".repeat(2000)}`]) {
        const answer = await problem(await gateway.fetch(path, { headers: { authorization } }));
        expect(answer).toMatchObject({ status: 401, type: "authentication_error" });
        expect(answer.message).not.toContain("wrong");
      }
    }
  });

  test("a key works as bearer and as x-api-key, and only for its own workspace", async () => {
    const made = await gateway.client().beta.environments.create({ name: "mine" });
    const asHeader = await fetch(`${gateway.url}/v1/environments/${made.id}`, {
      headers: { "x-api-key": testKeys.acme },
    });
    expect(asHeader.status).toBe(200);
    const stranger = gateway.client({ apiKey: testKeys.globex });
    await expect(stranger.beta.environments.retrieve(made.id)).rejects.toBeInstanceOf(NotFoundError);
    const foreign = await gateway.fetch("/v1/agents", { headers: { "anthropic-workspace-id": "wrkspc_globex" } });
    expect(await problem(foreign)).toMatchObject({ status: 403, type: "permission_error" });
  });

  test("a changed key file takes effect, and a broken one keeps the last good one", async () => {
    const own = await startGatewayHarness();
    try {
      const status = async (key: string) =>
        (await fetch(`${own.url}/v1/environments/env_x`, { headers: { authorization: `Bearer ${key}` } })).status;
      expect(await status(testKeys.globex)).toBe(404);
      await writeFile(own.keysFile, keysFileText(["acme"]));
      await eventually(async () => (await status(testKeys.globex)) === 401, { timeoutMs: 10_000 });
      await writeFile(own.keysFile, "{ half a fi");
      expect(await status(testKeys.acme)).toBe(404);
      await writeFile(own.keysFile, keysFileText());
      await eventually(async () => (await status(testKeys.globex)) === 404, { timeoutMs: 10_000 });
    } finally {
      await own.stop();
    }
  });
});

describe("what a client can send never ends in 500", () => {
  const deep = `{"name":${"[".repeat(5000)}${"]".repeat(5000)}}`;
  test.each([
    ["malformed JSON", post('{"name": '), 400],
    ["no body", { method: "POST" }, 400],
    ["an empty body of type JSON", post(""), 400],
    ["a list", post("[]"), 400],
    ["null", post("null"), 400],
    ["not UTF-8", post(new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])), 400],
    ["deep JSON", post(deep), 400],
    ["__proto__", post('{"__proto__": {"name": "x"}, "name": "x", "model": "m"}'), 400],
    ["an escaped __proto__", post('{"metadata": {"\\u005f_proto__": "x"}, "name": "x", "model": "m"}'), 400],
    ["text", post("name=x", { "content-type": "text/plain" }), 415],
    ["a form", post("name=x", { "content-type": "application/x-www-form-urlencoded" }), 415],
    ["a body over 4 MiB", post(`{"name": "${"x".repeat(4 * 1024 * 1024)}"}`), 413],
  ])("%s", async (_name, init, status) => {
    const answer = await problem(await gateway.fetch("/v1/agents", init));
    expect(answer).toMatchObject({ status, type: "invalid_request_error" });
  });

  test.each([
    ["GET", "/nothing", 404, "not_found_error"],
    ["GET", "/v1", 404, "not_found_error"],
    ["GET", "/v1/agents/%zz", 400, "invalid_request_error"],
    ["GET", "/v1/agents/a%2Fb", 404, "not_found_error"],
    ["GET", `/v1/agents/${"a".repeat(300)}`, 400, "invalid_request_error"],
    ["GET", "/v1/sessions/sesn.*.>/events", 404, "not_found_error"],
    ["DELETE", "/v1/agents", 405, "invalid_request_error"],
    ["PUT", "/v1/sessions/sesn_x", 405, "invalid_request_error"],
    ["OPTIONS", "/v1/sessions", 405, "invalid_request_error"],
    ["GET", "/v1/environments?limit=0", 400, "invalid_request_error"],
    ["GET", "/v1/environments?limit=1001", 400, "invalid_request_error"],
    ["GET", "/v1/agents?created_at[gte]=yesterday", 400, "invalid_request_error"],
    ["GET", "/v1/sessions?statuses[]=sleeping", 400, "invalid_request_error"],
    ["GET", "/v1/sessions?order=up", 400, "invalid_request_error"],
    ["GET", "/v1/sessions?agent_version=1", 400, "invalid_request_error"],
    ["GET", "/v1/sessions/sesn_x/events?types[]=user.sneeze", 400, "invalid_request_error"],
    ["GET", "/v1/sessions/sesn_x/events?types[]=brain.woken", 400, "invalid_request_error"],
    ["GET", "/v1/sessions/sesn_x/events/stream?event_deltas[]=agent.tool_use", 400, "invalid_request_error"],
  ])("%s %s", async (method, path, status, type) => {
    expect(await problem(await gateway.fetch(path, { method }))).toMatchObject({ status, type });
  });

  test.each([
    ["a bad header", "GET / HTTP/1.1\r\nbad header\r\n\r\n", 400],
    ["no HTTP at all", "\x16\x03\x01 hello\r\n\r\n", 400],
    ["headers of 64 KiB", `GET / HTTP/1.1\r\nx: ${"y".repeat(65_536)}\r\n\r\n`, 431],
  ])("%s is answered, and the next request is served", async (_name, bytes, status) => {
    const port = Number(new URL(gateway.url).port);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
      let text = "";
      socket.on("data", (chunk) => {
        text += chunk.toString();
      });
      socket.on("close", () => resolve(text));
      socket.on("error", reject);
    });
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(JSON.parse(answer.split("\r\n\r\n")[1] ?? "")).toMatchObject({
      type: "error",
      error: { type: "invalid_request_error" },
    });
    expect((await gateway.fetch("/")).status).toBe(200);
  });

  test("all problems of a body come at once, each with its field and rule", async () => {
    const body = {
      name: "",
      model: { id: "m", effort: "huge" },
      system: "x".repeat(100_001),
      metadata: { ["k".repeat(65)]: "v" },
      tools: [
        { type: "custom", name: "not a name", description: "", input_schema: { type: "array" } },
        { type: "rocket" },
      ],
      skills: [{ type: "custom", skill_id: "skill_1" }],
    };
    const { status, message } = await problem(await gateway.fetch("/v1/agents", post(JSON.stringify(body))));
    expect(status).toBe(400);
    for (const part of [
      "name: must have 1 to 256 characters",
      "model.effort",
      "system: must have at most 100000 characters",
      "tools[0].name: must have 1 to 128 of A-Z a-z 0-9 _ -",
      "tools[0].input_schema.type: must be `object`",
      "tools[1].type: must be one of agent_toolset_20260401, mcp_toolset, custom",
      "skills: skills are not served yet",
      "metadata",
    ]) {
      expect(message).toContain(part);
    }
  });
});

describe("every answer", () => {
  test("has a request id and security headers, and no CORS", async () => {
    for (const path of ["/", "/v1/agents/agent_x", "/nothing"]) {
      const { headers } = await gateway.fetch(path, { headers: { origin: "https://evil.example" } });
      expect(headers.get("request-id")).toMatch(/^req_/);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("cache-control")).toBe("no-store");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });

  test("of an operation that is not served yet says so and is not retried", async () => {
    const response = await gateway.fetch("/v1/skills", post("{}"));
    expect(response.headers.get("x-should-retry")).toBe("false");
    expect(await problem(response)).toMatchObject({ status: 501, message: "skills.create is not served yet" });
  });

  test("GET / says what this is", async () => {
    expect(await (await fetch(`${gateway.url}/`)).json()).toMatchObject({ name: "manyhands", api: "/v1" });
  });
});

describe("sessions", () => {
  test("a session's secrets are bound before it exists and echoed nowhere", async () => {
    const client = gateway.client();
    const { agent, environment } = await makeSession(client);
    const secret = "ghs_do_not_echo_me_anywhere_123456";
    const session = await client.beta.sessions.create({
      agent: { type: "agent_with_overrides", id: agent.id, system: "Be brief.", tools: [] },
      environment_id: environment.id,
      title: "With a repository",
      resources: [{ type: "github_repository", url: "https://git.example/acme/app.git", authorization_token: secret }],
      initial_events: [{ type: "user.message", content: [{ type: "text", text: "Hello" }] }],
    });
    expect(session).toMatchObject({
      type: "session",
      title: "With a repository",
      agent: { id: agent.id, version: 1, system: "Be brief.", tools: [] },
      environment_id: environment.id,
      resources: [{ type: "github_repository", url: "https://git.example/acme/app.git", mount_path: "/workspace/app" }],
    });
    expect(JSON.stringify(session)).not.toContain(secret);
    const binding = gateway.backend.bound.find((each) => each.sessionId === session.id);
    expect(binding?.repositories).toMatchObject([
      { url: "https://git.example/acme/app.git", authorizationToken: secret },
    ]);
    const [resource] = session.resources;
    const resourceId = resource && "id" in resource ? resource.id : "";
    await client.beta.sessions.resources.update(resourceId, {
      session_id: session.id,
      authorization_token: `${secret}2`,
    });
    expect(gateway.backend.bound.at(-1)?.repositories).toMatchObject([{ authorizationToken: `${secret}2` }]);
    const read = await client.beta.sessions.resources.retrieve(resourceId, { session_id: session.id });
    expect(JSON.stringify(read)).not.toContain(secret);
    const events = await client.beta.sessions.events.list(session.id);
    expect(events.data.map((event) => event.type)).toEqual(["user.message"]);
  });

  test("a session that cannot be made leaves no binding, and says which reference is wrong", async () => {
    const client = gateway.client();
    const { agent, environment } = await makeSession(client);
    const bindings = gateway.backend.bound.length;
    await expect(client.beta.sessions.create({ agent: "agent_none", environment_id: environment.id })).rejects.toThrow(
      /agent agent_none/,
    );
    await expect(client.beta.sessions.create({ agent: agent.id, environment_id: "env_none" })).rejects.toMatchObject({
      status: 404,
      errorCode: "environment_not_found",
    });
    expect(gateway.backend.bound).toHaveLength(bindings);
  });
});

test("no key, token or secret is ever logged, whether the request succeeds or fails", async () => {
  const client = gateway.client();
  const { agent, environment } = await makeSession(client);
  const secret = "kept_secret_0123456789";
  const resources = [
    { type: "github_repository" as const, url: "https://git.example/a/b", authorization_token: secret },
  ];
  await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id, resources });
  const credential = { auth: { type: "static_bearer", mcp_server_url: "https://mcp.example/", token: secret } };
  expect((await gateway.fetch("/v1/vaults/vlt_none/credentials", post(JSON.stringify(credential)))).status).toBe(501);
  await gateway.fetch("/v1/agents", post(`{"name": "${secret}`));
  await gateway.fetch("/v1/agents", { headers: { authorization: `Bearer ${secret}` } });
  await gateway.fetch(`/v1/agents/agent_x?token=${secret}`);
  const logs = gateway.logs();
  expect(logs).toContain("answered");
  expect(logs).not.toContain(secret);
  for (const key of Object.values(testKeys)) expect(logs).not.toContain(key);
});

test("a session whose first answer was lost is made once and keeps its rights", async () => {
  const client = gateway.client();
  const { agent, environment } = await makeSession(client);
  const [before, revoked] = [gateway.backend.sessions.ids().length, gateway.backend.revoked.length];
  gateway.backend.sessions.loseNextAnswer();
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
  expect(gateway.backend.sessions.ids().slice(before)).toEqual([session.id]);
  expect(gateway.backend.revoked).toHaveLength(revoked);
  expect(gateway.backend.bound.filter((each) => each.sessionId === session.id)).toHaveLength(1);
});

describe("sending events", () => {
  const hello = { type: "user.message" as const, content: [{ type: "text" as const, text: "Hello" }] };

  test("the official client's own retry after a lost answer does not send twice", async () => {
    const client = gateway.client();
    const { session } = await makeSession(client);
    gateway.backend.sessions.loseNextAnswer();
    const sent = await client.beta.sessions.events.send(session.id, { events: [hello] });
    const again = await client.beta.sessions.events.send(session.id, { events: [hello] });
    const ids = gateway.backend.sessions.events(session.id).map((event) => event.id);
    expect(ids).toEqual([sent.data?.[0]?.id, again.data?.[0]?.id]);
    expect(new Set(ids).size).toBe(2);
  });

  test("a retry that another replica's first try wrote is found in the log", async () => {
    const client = gateway.client();
    const { session } = await makeSession(client);
    gateway.backend.sessions.emit(session.id, [{ id: "sevt_first", ...hello }]);
    const body = JSON.stringify({ events: [hello] });
    const retry = await gateway.fetch(
      `/v1/sessions/${session.id}/events`,
      post(body, { ...json, "x-stainless-retry-count": "1" }),
    );
    expect(await retry.json()).toMatchObject({ data: [{ id: "sevt_first" }] });
    expect(gateway.backend.sessions.events(session.id)).toHaveLength(1);
  });

  test("the same Idempotency-Key sends once", async () => {
    const client = gateway.client();
    const { session } = await makeSession(client);
    const send = () =>
      client.beta.sessions.events.send(session.id, { events: [hello] }, { headers: { "idempotency-key": "order-7" } });
    const [first, second] = [await send(), await send()];
    expect(second.data?.[0]?.id).toBe(first.data?.[0]?.id);
    expect(gateway.backend.sessions.events(session.id)).toHaveLength(1);
  });

  test.each([
    [
      "an answer to nothing",
      { type: "user.tool_confirmation", tool_use_id: "sevt_none", result: "allow" },
      "events[0].tool_use_id: is not an event of this session",
    ],
    [
      "a result of the wrong kind",
      { type: "user.custom_tool_result", custom_tool_use_id: "sevt_bash" },
      "must be an agent.custom_tool_use",
    ],
    [
      "a confirmation nobody asked for",
      { type: "user.tool_confirmation", tool_use_id: "sevt_bash", result: "allow" },
      "must be a tool use that asks",
    ],
    ["a worker's result in the cloud", { type: "user.tool_result", tool_use_id: "sevt_bash" }, "self_hosted"],
    [
      "a lone system message",
      { type: "system.message", content: [{ type: "text", text: "x" }] },
      "must be the last event",
    ],
    [
      "redacted content",
      { type: "user.message", content: [{ type: "redacted" }] },
      "must be one of text, image, document",
    ],
    ["a server's event", { type: "agent.message", content: [] }, "events[0].type: must be one of user.message"],
    ["nothing", undefined, "events: must not be empty"],
  ])("%s is refused", async (_name, event, message) => {
    const { session } = await makeSession(gateway.client());
    gateway.backend.sessions.emit(session.id, [
      { id: "sevt_bash", type: "agent.tool_use", name: "bash", input: {}, evaluated_permission: "allow" },
    ]);
    const body = JSON.stringify({ events: event === undefined ? [] : [event] });
    const answer = await problem(await gateway.fetch(`/v1/sessions/${session.id}/events`, post(body)));
    expect(answer).toMatchObject({ status: 400, message: expect.stringContaining(message) });
    expect(gateway.backend.sessions.events(session.id)).toHaveLength(1);
  });

  test("an asked confirmation is stored as sent", async () => {
    const client = gateway.client();
    const { session } = await makeSession(client);
    gateway.backend.sessions.emit(session.id, [
      { id: "sevt_ask", type: "agent.tool_use", name: "bash", input: {}, evaluated_permission: "ask" },
    ]);
    const { data } = await client.beta.sessions.events.send(session.id, {
      events: [{ type: "user.tool_confirmation", tool_use_id: "sevt_ask", result: "deny", deny_message: "no" }],
    });
    expect(data).toMatchObject([
      { type: "user.tool_confirmation", tool_use_id: "sevt_ask", result: "deny", deny_message: "no" },
    ]);
  });
});
