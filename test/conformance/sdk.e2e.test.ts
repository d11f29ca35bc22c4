/** How the unchanged official client experiences the platform: errors, paging, streams, previews, ids. */
import Anthropic, { AuthenticationError, BadRequestError, ConflictError, NotFoundError } from "@anthropic-ai/sdk";
import { accumulateManagedAgentsEvent } from "@anthropic-ai/sdk/lib/sessions/accumulate";
import type { BetaManagedAgentsStreamSessionEvents } from "@anthropic-ai/sdk/resources/beta/sessions/events";
import { type Platform, startPlatform } from "@manyhands/local";
import { afterAll, beforeAll, expect, it } from "vitest";
import { collect, idle } from "./probes.ts";

let platform: Platform;
let client: Anthropic;
let requests: string[] = [];
let agentId: string;
let environmentId: string;

beforeAll(async () => {
  platform = await startPlatform({ handDriver: "virtual" });
  client = new Anthropic({
    baseURL: platform.devJson.gateway_url,
    apiKey: platform.devJson.api_key,
    fetch: (input, init) => {
      requests.push(`${init?.method ?? "GET"} ${String(input)}`);
      return fetch(input, init);
    },
  });
  agentId = (
    await client.beta.agents.create({
      name: "A",
      model: "claude-sonnet-5-5",
      tools: [{ type: "agent_toolset_20260401" }],
    })
  ).id;
  environmentId = (await client.beta.environments.create({ name: "sdk" })).id;
});
afterAll(() => platform?.stop());

const newSession = () => client.beta.sessions.create({ agent: agentId, environment_id: environmentId });
const say = (sessionId: string, text: string) =>
  client.beta.sessions.events.send(sessionId, {
    events: [{ type: "user.message", content: [{ type: "text", text }] }],
  });

async function turn(stream: AsyncIterable<BetaManagedAgentsStreamSessionEvents>) {
  const events: BetaManagedAgentsStreamSessionEvents[] = [];
  for await (const event of stream) {
    events.push(event);
    if (event.type === "session.status_idle") break;
  }
  return events;
}

it("errors have their classes", async () => {
  await expect(client.beta.sessions.retrieve("sesn_none")).rejects.toBeInstanceOf(NotFoundError);
  await expect(client.beta.agents.create({ name: "", model: "m" })).rejects.toBeInstanceOf(BadRequestError);
  const stranger = new Anthropic({ baseURL: platform.devJson.gateway_url, apiKey: "wrong" });
  await expect(stranger.beta.agents.list()).rejects.toBeInstanceOf(AuthenticationError);
});

it("a conflict is answered once and not retried", async () => {
  const agent = await client.beta.agents.create({ name: "C", model: "claude-sonnet-5-5" });
  requests = [];
  const stale = client.beta.agents.update(agent.id, { version: 7, name: "D" });
  await expect(stale).rejects.toBeInstanceOf(ConflictError);
  expect(requests).toHaveLength(1);
});

it("an environment's name is taken once", async () => {
  await client.beta.environments.create({ name: "only one" });
  await expect(client.beta.environments.create({ name: "only one" })).rejects.toBeInstanceOf(ConflictError);
});

it("lists page forwards by the iterator and backwards by the page", async () => {
  const agent = await client.beta.agents.create({ name: "P", model: "claude-sonnet-5-5" });
  const made: string[] = [];
  for (let count = 0; count < 5; count += 1) {
    made.push((await client.beta.sessions.create({ agent: agent.id, environment_id: environmentId })).id);
  }
  const ids = (await collect(client.beta.sessions.list({ agent_id: agent.id, limit: 2, order: "asc" }))).map(
    ({ id }) => id,
  );
  expect(ids).toEqual(made);
  const first = await client.beta.sessions.list({ agent_id: agent.id, limit: 2 });
  expect(first.data.map(({ id }) => id)).toEqual([made[4], made[3]]);
  expect(first.prev_page).toBeNull();
  const second = await first.getNextPage();
  expect(second.data.map(({ id }) => id)).toEqual([made[2], made[1]]);
  const back = await client.beta.sessions.list({ agent_id: agent.id, limit: 2, page: second.prev_page ?? "" });
  expect(back.data.map(({ id }) => id)).toEqual([made[4], made[3]]);
});

it("stream first, then send: the whole turn, idle last, and the same ids in answer, stream and list", async () => {
  const session = await newSession();
  const stream = await client.beta.sessions.events.stream(session.id);
  const sent = await say(session.id, "Hello");
  const seen = await turn(stream);
  const types = seen.map((event) => event.type);
  expect(types[0]).toBe("user.message");
  expect(types.at(-1)).toBe("session.status_idle");
  for (const type of [
    "session.status_running",
    "span.model_request_start",
    "agent.message",
    "span.model_request_end",
  ]) {
    expect(types).toContain(type);
  }
  const ids = seen.map((event) => ("id" in event ? event.id : ""));
  expect(ids[0]).toBe(sent.data?.[0]?.id);
  await idle(client, session.id);
  const listed = await collect(client.beta.sessions.events.list(session.id, { limit: 3 }));
  expect(listed.map((event) => event.id)).toEqual(ids);
  expect(listed).toEqual(seen);
  const newest = await client.beta.sessions.events.list(session.id, { order: "desc", limit: 1 });
  expect(newest.data[0]?.type).toBe("session.status_idle");
});

it("initial events start the first turn", async () => {
  const session = await client.beta.sessions.create({
    agent: agentId,
    environment_id: environmentId,
    initial_events: [{ type: "user.message", content: [{ type: "text", text: "Hello" }] }],
  });
  await idle(client, session.id);
  const types = (await collect(client.beta.sessions.events.list(session.id))).map((event) => event.type);
  expect(types).toContain("agent.message");
});

it("previews fold in the official accumulator to exactly the final message", async () => {
  const session = await newSession();
  const stream = await client.beta.sessions.events.stream(session.id, {
    event_deltas: ["agent.message", "agent.thinking"],
  });
  await say(session.id, "Hello");
  const previews = new Map<string, ReturnType<typeof accumulateManagedAgentsEvent>>();
  let finals = 0;
  for (const event of await turn(stream)) {
    if (event.type === "event_start") previews.set(event.event.id, accumulateManagedAgentsEvent(undefined, event));
    if (event.type === "event_delta") {
      previews.set(event.event_id, accumulateManagedAgentsEvent(previews.get(event.event_id), event));
    }
    if (event.type === "agent.message") {
      finals += 1;
      expect(previews.get(event.id)?.content).toEqual(event.content);
    }
  }
  expect(finals).toBe(1);
});

it("a session that runs is neither archived nor deleted, and is asked once", async () => {
  const session = await newSession();
  const stream = await client.beta.sessions.events.stream(session.id);
  await say(session.id, "Run 10 steps");
  requests = [];
  await expect(client.beta.sessions.archive(session.id)).rejects.toMatchObject({
    status: expect.toSatisfy((code) => code === 400 || code === 409),
  });
  await expect(client.beta.sessions.delete(session.id)).rejects.toMatchObject({
    status: expect.toSatisfy((code) => code === 400 || code === 409),
  });
  expect(requests).toHaveLength(2);
  await turn(stream);
  await idle(client, session.id);
  expect((await client.beta.sessions.archive(session.id)).status).toBe("terminated");
  await expect(say(session.id, "too late")).rejects.toMatchObject({
    status: expect.toSatisfy((code) => code === 400 || code === 409),
  });
  await client.beta.sessions.delete(session.id);
  await expect(client.beta.sessions.retrieve(session.id)).rejects.toBeInstanceOf(NotFoundError);
});

it("deleting a session ends its streams", async () => {
  const session = await newSession();
  const stream = await client.beta.sessions.events.stream(session.id);
  await client.beta.sessions.delete(session.id);
  const types: string[] = [];
  for await (const event of stream) types.push(event.type);
  expect(types).toEqual(["session.deleted"]);
});

it("an Idempotency-Key makes a thing once, whatever it is", async () => {
  const once = { headers: { "idempotency-key": "make-it-once" } };
  const twice = async (make: () => Promise<{ id: string }>) => {
    const [first, second] = [await make(), await make()];
    expect(second.id).toBe(first.id);
    return first.id;
  };
  const agent = await twice(() => client.beta.agents.create({ name: "Once", model: "claude-sonnet-5-5" }, once));
  const environment = await twice(() => client.beta.environments.create({ name: "once" }, once));
  const vault = await twice(() => client.beta.vaults.create({ display_name: "Once" }, once));
  const auth = { type: "static_bearer" as const, mcp_server_url: "https://mcp.example.com/", token: "once" };
  await twice(() => client.beta.vaults.credentials.create(vault, { auth }, once));
  const session = await twice(() =>
    client.beta.sessions.create(
      {
        agent,
        environment_id: environment,
        resources: [{ type: "github_repository", url: "https://git.example.com/a/b", authorization_token: "once" }],
        initial_events: [{ type: "user.message", content: [{ type: "text", text: "Hello" }] }],
      },
      once,
    ),
  );
  await idle(client, session);
  const messages = await collect(client.beta.sessions.events.list(session, { types: ["user.message"] }));
  expect(messages).toHaveLength(1);
});
