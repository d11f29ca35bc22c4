/** What happens in the middle of a session: asked permissions, restarts behind and of the gateway. */
import Anthropic from "@anthropic-ai/sdk";
import { type Platform, startPlatform } from "@manyhands/local";
import { afterAll, beforeAll, expect, it } from "vitest";
import { collect, idle } from "./probes.ts";

let platform: Platform;
let client: Anthropic;
let environmentId: string;

beforeAll(async () => {
  platform = await startPlatform({ handDriver: "virtual" });
  client = new Anthropic({ baseURL: platform.devJson.gateway_url, apiKey: platform.devJson.api_key });
  environmentId = (await client.beta.environments.create({ name: "flow" })).id;
});
afterAll(() => platform?.stop());

async function newSession(policy: "always_allow" | "always_ask") {
  const agent = await client.beta.agents.create({
    name: "Flow",
    model: "claude-sonnet-5-5",
    tools: [{ type: "agent_toolset_20260401", default_config: { permission_policy: { type: policy } } }],
  });
  return client.beta.sessions.create({ agent: agent.id, environment_id: environmentId });
}

const say = (sessionId: string, text: string) =>
  client.beta.sessions.events.send(sessionId, {
    events: [{ type: "user.message", content: [{ type: "text", text }] }],
  });

it("a tool that asks waits for its answer, and goes on with it", async () => {
  for (const result of ["allow", "deny"] as const) {
    const session = await newSession("always_ask");
    const stream = await client.beta.sessions.events.stream(session.id);
    await say(session.id, "Think hard about it");
    let asked: string[] = [];
    const results: string[] = [];
    for await (const event of stream) {
      if (event.type === "agent.tool_use") expect(event.evaluated_permission).toBe("ask");
      if (event.type === "agent.tool_result") results.push(JSON.stringify(event));
      if (event.type !== "session.status_idle") continue;
      if (event.stop_reason.type !== "requires_action") break;
      asked = event.stop_reason.event_ids;
      const answers = asked.map((id) => ({ type: "user.tool_confirmation" as const, tool_use_id: id, result }));
      const denied = result === "deny" ? { deny_message: "not today" } : {};
      await client.beta.sessions.events.send(session.id, {
        events: answers.map((answer) => ({ ...answer, ...denied })),
      });
    }
    expect(asked).toHaveLength(1);
    expect(results).toHaveLength(1);
    expect(results[0]).toContain(result === "deny" ? "not today" : "42");
  }
});

it("an open stream outlives a restart of session-store without losing or repeating an event", async () => {
  const session = await newSession("always_allow");
  const stream = await client.beta.sessions.events.stream(session.id);
  await say(session.id, "Hello");
  const seen: string[] = [];
  let turns = 0;
  for await (const event of stream) {
    if ("id" in event) seen.push(event.id);
    if (event.type !== "session.status_idle") continue;
    turns += 1;
    if (turns === 2) break;
    await platform.restart("session-store", 1);
    await platform.whenReady("session-store", 1);
    await say(session.id, "Hello again");
  }
  await idle(client, session.id);
  const listed = await collect(client.beta.sessions.events.list(session.id));
  expect(seen).toEqual(listed.map((event) => event.id));
});

it("a restart of the gateway ends streams cleanly, and Last-Event-ID goes on where they ended", async () => {
  const session = await newSession("always_allow");
  const stream = await client.beta.sessions.events.stream(session.id);
  await say(session.id, "Hello");
  const seen: string[] = [];
  const ended = (async () => {
    for await (const event of stream) if ("id" in event) seen.push(event.id);
  })();
  await idle(client, session.id);
  await platform.restart("gateway", 1);
  await platform.whenReady("gateway", 1);
  await ended;
  await say(session.id, "Hello again");
  await idle(client, session.id);
  const rest = await client.beta.sessions.events.stream(
    session.id,
    {},
    { headers: { "last-event-id": seen.at(-1) ?? "" } },
  );
  const listed = await collect(client.beta.sessions.events.list(session.id));
  for await (const event of rest) {
    if ("id" in event) seen.push(event.id);
    if (seen.length >= listed.length) break;
  }
  expect(seen).toEqual(listed.map((event) => event.id));
});

it("an interrupt ends the turn with an ordinary idle, and the next message starts the next turn", async () => {
  const session = await newSession("always_allow");
  const stream = await client.beta.sessions.events.stream(session.id);
  await say(session.id, "Run 200 steps");
  const uses: string[] = [];
  const answered: string[] = [];
  let interrupted = false;
  for await (const event of stream) {
    if (event.type === "agent.tool_use") uses.push(event.id);
    if (event.type === "agent.tool_result") answered.push(event.tool_use_id);
    if (event.type === "agent.tool_use" && !interrupted) {
      interrupted = true;
      await client.beta.sessions.events.send(session.id, { events: [{ type: "user.interrupt" }] });
    }
    if (event.type === "session.status_idle") {
      expect(event.stop_reason).toEqual({ type: "end_turn" });
      break;
    }
  }
  expect(uses.length).toBeLessThan(200);
  expect(answered).toEqual(uses);
  await say(session.id, "Hello");
  await idle(client, session.id);
  const messages = await collect(
    client.beta.sessions.events.list(session.id, { types: ["agent.message"], order: "desc" }),
  );
  expect(JSON.stringify(messages[0])).toContain("Hello");
});
