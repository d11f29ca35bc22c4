/** The brain's features as clients see them: the official SDK, plain HTTP, a Python program, the replay command. */
import { type ChildProcess, spawn } from "node:child_process";
import { cp, writeFile } from "node:fs/promises";
import path from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import { createDemoModel, type DemoModel } from "@manyhands/demo-model";
import { type Platform, startPlatform } from "@manyhands/local";
import { eventually, tempDir } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommand } from "../support/run-process.ts";
import { root } from "../tidy/sources.ts";

const scenarios = `
name: two-tools
priority: 50
match: { last_user_text: '\\buse both tools\\b' }
steps:
  - emit:
      - tool_use: { name: bash, input: { command: "echo from-bash" } }
      - tool_use: { name: weather, input: { city: Bern } }
  - emit: [{ text: "Got: {{tool_result}}" }]
---
name: recaller
priority: 60
match: { last_user_text: '\\bwhat was the word\\b' }
steps:
  - emit: [{ tool_use: { name: recall, input: { text: "the word is", types: [user.message] } } }]
  - emit: [{ text: "It was: {{tool_result}}" }]
---
name: inside
priority: 60
match: { last_user_text: '\\bfetch from inside\\b' }
steps:
  - emit: [{ tool_use: { name: web_fetch, input: { url: "http://127.0.0.1:1/secret" } } }]
  - emit: [{ text: "Fetched: {{tool_result}}" }]
---
name: forbidden
priority: 60
match: { last_user_text: '\\buse grep anyway\\b' }
steps:
  - emit: [{ tool_use: { name: grep, input: { pattern: x }, allow_unknown: true } }]
  - emit: [{ text: "{{tool_result}}" }]
`;

let folder: Awaited<ReturnType<typeof tempDir>>;
let model: DemoModel;
let platform: Platform;
let client: Anthropic;
let environmentId: string;

beforeAll(async () => {
  folder = await tempDir("manyhands-brain-");
  const scenarioDir = path.join(folder.path, "scenarios");
  await cp(path.join(root, "packages/demo-model/scenarios"), scenarioDir, { recursive: true });
  await writeFile(path.join(scenarioDir, "brain.yaml"), scenarios);
  const prices = path.join(folder.path, "prices.json");
  // Dear enough that one request costs more than a cent.
  const price = { input: 5_000, output: 25_000, cache_read: 500, cache_write: 6_250 };
  await writeFile(prices, JSON.stringify({ "demo-1": price }));
  model = await createDemoModel({ scenarioDir });
  platform = await startPlatform({
    handDriver: "virtual",
    model: { url: model.url, key: "test" },
    env: { harness: { MH_CHEAP_MODEL: "demo-small", MH_MODEL_PRICES_FILE: prices } },
  });
  client = new Anthropic({ baseURL: platform.devJson.gateway_url, apiKey: platform.devJson.api_key, maxRetries: 0 });
  environmentId = (await client.beta.environments.create({ name: "brain", config: { type: "cloud" } })).id;
});
afterAll(async () => {
  await platform?.stop();
  await model?.close();
  await folder?.cleanup();
});

type CreateAgent = Parameters<typeof client.beta.agents.create>[0];
type CreateSession = Parameters<typeof client.beta.sessions.create>[0];

async function session(
  agent: Partial<CreateAgent> = {},
  more: Partial<Omit<CreateSession, "agent" | "environment_id">> = {},
): Promise<string> {
  const made = await client.beta.agents.create({ name: "brain", model: "demo-1", ...agent });
  return (await client.beta.sessions.create({ agent: made.id, environment_id: environmentId, ...more })).id;
}

type SentEvents = Parameters<typeof client.beta.sessions.events.send>[1]["events"];

async function send(id: string, ...events: SentEvents): Promise<void> {
  await client.beta.sessions.events.send(id, { events });
}

const say = (text: string) => ({ type: "user.message" as const, content: [{ type: "text" as const, text }] });

async function listed(id: string) {
  const events = [];
  for await (const event of client.beta.sessions.events.list(id, { limit: 1000 })) events.push(event);
  return events;
}

/** Waits until the session has been idle for the n-th time; answers its events. */
function idle(id: string, times = 1) {
  return eventually(
    async () => {
      const events = await listed(id);
      const count = events.filter((event) => event.type === "session.status_idle").length;
      if (events.at(-1)?.type === "session.status_idle" && count >= times) return events;
      throw new Error(`not idle: ${events.map((event) => event.type).join(" ")}`);
    },
    { timeoutMs: 20_000, everyMs: 40 },
  );
}

type Events = Awaited<ReturnType<typeof listed>>;

function ofType<T extends Events[number]["type"]>(events: Events, type: T) {
  return events.filter((event): event is Extract<Events[number], { type: T }> => event.type === type);
}

function lastWords(events: Events): string {
  const content = ofType(events, "agent.message").at(-1)?.content ?? [];
  return content.map((block) => ("text" in block ? block.text : "")).join("");
}

describe("context", () => {
  it("takes a strategy from the agent's metadata, and another one on the live session", async () => {
    const id = await session({ metadata: { "manyhands.context": "reset", team: "red" } });
    expect((await client.beta.sessions.retrieve(id)).metadata).toEqual({ "manyhands.context": "reset" });
    await send(id, say("the word is swordfish"));
    await idle(id);
    await send(id, say("what was the word?"));
    expect(lastWords(await idle(id, 2))).toContain("swordfish");
    const bodies = () => model.requests.map((request) => Buffer.from(request.body).toString());
    expect(bodies().find((body) => body.includes("what was the word"))).not.toContain("swordfish");

    await client.beta.sessions.update(id, { metadata: { "manyhands.context": "full" } });
    await send(id, say("Hello once more"));
    await idle(id, 3);
    expect(bodies().at(-1)).toContain("swordfish");
  });

  it("refuses a strategy that there is not, naming field and rule", async () => {
    const metadata = { "manyhands.context": '{"type":"window","keep_requests":0}' };
    await expect(session({}, { metadata })).rejects.toThrow("keep_requests must be a whole number from 1 to 10000");
    await expect(session({}, { metadata: { "manyhands.contxt": "full" } })).rejects.toThrow("is no setting");
  });
});

describe("permissions and tools", () => {
  const weather = {
    type: "custom" as const,
    name: "weather",
    description: "Tells the weather.",
    input_schema: { type: "object" as const, properties: { city: { type: "string" } } },
  };

  it.each(["always_ask", "auto"] as const)(
    "%s asks, says the verdict, and waits for partial answers",
    async (policy) => {
      const toolset = {
        type: "agent_toolset_20260401" as const,
        default_config: { permission_policy: { type: policy } },
      };
      const id = await session({ tools: [toolset, weather] });
      await send(id, say("use both tools"));
      const asked = await idle(id);
      const [use] = ofType(asked, "agent.tool_use");
      const [custom] = ofType(asked, "agent.custom_tool_use");
      expect(use).toMatchObject({ evaluated_permission: "ask", evaluation: { type: policy } });
      const waiting = ofType(asked, "session.status_idle").at(-1)?.stop_reason;
      expect(waiting).toEqual({ type: "requires_action", event_ids: [use?.id, custom?.id] });

      const content = [{ type: "text" as const, text: "rain" }];
      await send(id, { type: "user.custom_tool_result", custom_tool_use_id: custom?.id ?? "", content });
      const half = await idle(id, 2);
      const left = ofType(half, "session.status_idle").at(-1)?.stop_reason;
      expect(left).toEqual({ type: "requires_action", event_ids: [use?.id] });
      await send(id, {
        type: "user.tool_confirmation",
        tool_use_id: use?.id ?? "",
        ...(policy === "auto" ? { result: "allow" } : { result: "deny", deny_message: "not today" }),
      });
      const words = lastWords(await idle(id, 3));
      expect(words).toContain("rain");
      expect(words).toContain(policy === "auto" ? "from-bash" : "not today");
    },
  );

  it("denies a tool that is not enabled, before any policy", async () => {
    const configs = [{ name: "grep" as const, enabled: false }];
    const id = await session({ tools: [{ type: "agent_toolset_20260401", configs }] });
    await send(id, say("use grep anyway"));
    const events = await idle(id);
    expect(ofType(events, "agent.tool_use")[0]).toMatchObject({ evaluated_permission: "deny" });
    expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("end_turn");
  });
});

describe("web_fetch", () => {
  it("goes through the egress proxy, which refuses what lies inside, and the model is told", async () => {
    const id = await session({ tools: [{ type: "agent_toolset_20260401" }] });
    await send(id, say("fetch from inside"));
    const events = await idle(id);
    const [result] = ofType(events, "agent.tool_result");
    expect(result?.is_error).toBe(true);
    expect(lastWords(events)).toMatch(/refused|not allow|403|private/i);
    expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("end_turn");
  });
});

describe("a budget", () => {
  it("stops the session before the next model request, and raising it lets the session go on by itself", async () => {
    const budget = (amount: string) => ({
      type: "limit" as const,
      max_list_cost: { amount, currency: "USD" as const },
    });
    const id = await session({ tools: [{ type: "agent_toolset_20260401" }] }, { budget: budget("1") });
    await send(id, say("Run 2 steps"));
    const stopped = await idle(id);
    expect(ofType(stopped, "session.status_idle").at(-1)?.stop_reason.type).toBe("budget_reached");
    expect(ofType(stopped, "span.model_request_start")).toHaveLength(1);
    expect((await client.beta.sessions.retrieve(id)).budget).toEqual(budget("1"));
    await client.beta.sessions.update(id, { budget: budget("100000") });
    expect(lastWords(await idle(id, 2))).toContain("Finished 2 steps");
  });

  it("cannot be added later, and stops where no price is known", async () => {
    const id = await session({ model: "demo-2" });
    const budget = { type: "limit" as const, max_list_cost: { amount: "5", currency: "USD" as const } };
    await expect(client.beta.sessions.update(id, { budget })).rejects.toThrow("budget_create_only");
    const unpriced = await session({ model: "demo-2" }, { budget });
    await send(unpriced, say("Hello"));
    const events = await idle(unpriced);
    expect(ofType(events, "session.error")[0]?.error.message).toContain("No list price is configured for demo-2");
    expect(ofType(events, "span.model_request_start")).toEqual([]);
  });
});

describe("the agent of a live session", () => {
  const lastRequest = () => JSON.parse(Buffer.from(model.requests.at(-1)?.body ?? "").toString());

  it("changes between turns: the next request has the new tools, model and words, the agent itself stays", async () => {
    const id = await session({ system: "You are slow.", tools: [{ type: "agent_toolset_20260401" }] });
    await send(id, say("Hello"));
    await idle(id);
    expect(lastRequest()).toMatchObject({ model: "demo-1", system: [{ text: "You are slow." }] });
    const tool = {
      type: "custom" as const,
      name: "weather",
      description: "Tells.",
      input_schema: { type: "object" as const, properties: {} },
    };
    const agent = { tools: [tool], model: "demo-2", system: "You are quick." };
    const changed = await client.beta.sessions.update(id, { agent });
    expect(changed.agent).toMatchObject({ model: { id: "demo-2" }, tools: [{ name: "weather" }], mcp_servers: [] });
    await send(id, say("Hello again"));
    await idle(id, 2);
    expect(lastRequest()).toMatchObject({
      model: "demo-2",
      system: [{ text: "You are quick." }],
      tools: [{ name: "weather" }],
    });
    const base = await client.beta.agents.retrieve(changed.agent.id);
    expect(base).toMatchObject({ version: changed.agent.version, model: { id: "demo-1" } });
    const { data } = await client.beta.sessions.events.list(id, { limit: 100 });
    expect(data.filter(({ type }) => type === "session.updated")).toMatchObject([
      { agent: { model: { id: "demo-2" } } },
    ]);
  });

  it("is held to the rules of an agent", async () => {
    const id = await session({});
    const server = { type: "url" as const, name: "tickets", url: "https://tickets.test/mcp" };
    const unused = client.beta.sessions.update(id, { agent: { mcp_servers: [server] } });
    await expect(unused).rejects.toThrow("must be used by an mcp_toolset");
  });
});

describe("harnesses", () => {
  it("are chosen and switched by metadata, there and back", async () => {
    const id = await session({}, { metadata: { "manyhands.harness": "cheap-first" } });
    await send(id, say("Hello"));
    await idle(id);
    await client.beta.sessions.update(id, { metadata: { "manyhands.harness": null } });
    await send(id, say("Hello again"));
    await idle(id, 2);
    const models = model.requests.slice(-2).map((request) => JSON.parse(Buffer.from(request.body).toString()).model);
    expect(models).toEqual(["demo-small", "demo-1"]);
    const unknown = client.beta.sessions.update(id, { metadata: { "manyhands.harness": "nobody" } });
    await expect(unknown).rejects.toThrow(Anthropic.ConflictError);
  });

  it("can be a Python program that knows nothing but the public contracts, in turn with the default one", async () => {
    const program = await startPython();
    try {
      const id = await session({}, { metadata: { "manyhands.harness": "python" } });
      await send(id, say("Hello from Python"));
      expect(lastWords(await idle(id))).toContain("Hello from Python");
      await client.beta.sessions.update(id, { metadata: { "manyhands.harness": "default" } });
      await send(id, say("Hello from TypeScript"));
      expect(lastWords(await idle(id, 2))).toContain("Hello from TypeScript");
      await client.beta.sessions.update(id, { metadata: { "manyhands.harness": "python" } });
      await send(id, say("And back"));
      expect(lastWords(await idle(id, 3))).toContain("And back");
    } finally {
      program.kill("SIGKILL");
    }
  });

  it("are kept apart from clients: a key without the right cannot write as a brain", async () => {
    const { gateway_url, api_key } = platform.devJson;
    const ask = (url: string, body: object) =>
      fetch(`${gateway_url}/x/rpc/${url}`, {
        method: "POST",
        headers: { authorization: `Bearer ${api_key}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    expect((await ask("SessionService/DeleteSession", { sessionId: "sesn_x" })).status).toBe(404);
    expect((await ask("SessionService/GetEvents", { sessionId: "sesn_nobody" })).status).toBe(404);
    expect((await ask("SessionService/GetEvents", {})).status).toBe(400);
    expect((await ask("SessionService/GetEvents", { nonsense: 1 })).status).toBe(400);
  });
});

describe("npm run replay", () => {
  it("is a gate: 0 when a harness goes the same way, 1 with the place when it does not", async () => {
    const id = await session({ tools: [{ type: "agent_toolset_20260401" }] });
    await send(id, say("Run 2 steps"));
    await idle(id);
    const run = (...args: string[]) =>
      runCommand(["replay", id, "--json", "--address", platform.devJson.grpc.harness, ...args], 30_000);
    const same = await run("--harness", "default@1.0.0");
    expect(same.code).toBe(0);
    const report = JSON.parse(same.stdout);
    expect(report).toMatchObject({ same: true, decisions_different: 0, requests_different: 0, first_divergence: null });
    expect(report.tried.cache_hit_rate).toBeGreaterThan(0.7);
    const other = await run("--harness", "cheap-first");
    expect(other.code).toBe(1);
    expect(JSON.parse(other.stdout).first_divergence).toMatchObject({ tried: "asks demo-small" });
    const window = ["--set", 'manyhands.context={"type":"window","keep_requests":1}'];
    expect((await run("--harness", "default", ...window)).code).toBe(1);
    const decisions = await run("--harness", "default", "--decisions-only", ...window);
    expect(decisions.code).toBe(0);
    expect(JSON.parse(decisions.stdout).requests_different).toBeGreaterThan(0);
  });
});

async function startPython(): Promise<ChildProcess> {
  const { gateway_url, api_key, nats_url, model_proxy_url } = platform.devJson;
  const program = spawn("python3", [path.join(root, "examples/python-harness/harness.py")], {
    env: {
      PATH: process.env.PATH,
      MH_GATEWAY_URL: gateway_url,
      MH_API_KEY: api_key,
      MH_NATS_URL: nats_url,
      MH_MODEL_PROXY_URL: model_proxy_url,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [program.stdout, program.stderr]) {
    stream.on("data", (text: Buffer) => {
      output += text.toString();
    });
  }
  await eventually(() => output.includes("ready"), { timeoutMs: 10_000, everyMs: 20 });
  return program;
}
