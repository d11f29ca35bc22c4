/** What is true of the whole platform, seen from outside. */
import Anthropic from "@anthropic-ai/sdk";
import { create } from "@bufbuild/protobuf";
import { connectBus, observeUndeclared } from "@manyhands/bus";
import { createRpcClient, silentLogger } from "@manyhands/kit";
import { findDockerEngine, type Platform, startPlatform } from "@manyhands/local";
import { EmitEventsRequestSchema, encodeEvent, SessionService } from "@manyhands/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const kib = 1024;

describe("the platform", () => {
  let platform: Platform;
  let client: Anthropic;
  let sessionId: string;

  beforeAll(async () => {
    platform = await startPlatform({ handDriver: "docker" });
    client = new Anthropic({ baseURL: platform.devJson.gateway_url, apiKey: platform.devJson.api_key, maxRetries: 0 });
    const agent = await client.beta.agents.create({
      name: "e2e",
      model: "claude-sonnet-5-5",
      tools: [{ type: "agent_toolset_20260401" }],
    });
    const environment = await client.beta.environments.create({ name: "e2e", config: { type: "cloud" } });
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    sessionId = session.id;
  });
  afterAll(() => platform?.stop());

  it("runs every service as a process of its own", () => {
    const names = platform.processes().map((process) => process.service);
    for (const name of ["session-store", "harness", "sandbox-manager", "vault-proxy", "gateway"]) {
      expect(names).toContain(name);
    }
    expect(new Set(platform.processes().map((process) => process.pid)).size).toBe(names.length);
  });

  it("makes no container for a session that only chats, and publishes nothing outside the table", async () => {
    const bus = await connectBus({ url: platform.devJson.nats_url, name: "e2e", logger: silentLogger() });
    const observer = await observeUndeclared(bus);
    try {
      await runTurn("Hello there");
      expect(await containersOf(sessionId)).toBe(0);
      expect(observer.total()).toBeGreaterThan(0);
      expect(observer.seen().filter((subject) => !subject.startsWith("_INBOX"))).toEqual([]);
    } finally {
      observer.stop();
      await bus.close();
    }
  });

  it("gives a message and its stored event the same id, and ends the turn with idle", async () => {
    const events: { id: string; type: string }[] = [];
    for await (const event of client.beta.sessions.events.list(sessionId, { limit: 1000 })) events.push(event);
    expect(events.at(-1)?.type).toBe("session.status_idle");
    expect(new Set(events.map((event) => event.id)).size).toBe(events.length);
  });

  describe("bad input", () => {
    const url = (path: string) => `${platform.devJson.gateway_url}${path}`;
    const headers = () => ({
      authorization: `Bearer ${platform.devJson.api_key}`,
      "content-type": "application/json",
    });

    it("answers 404 for an unknown session", async () => {
      await expect(client.beta.sessions.retrieve("sesn_doesnotexist")).rejects.toThrow(Anthropic.NotFoundError);
    });

    it("answers 401 without a key and with a wrong one", async () => {
      const missing = await fetch(url("/v1/sessions"));
      expect(missing.status).toBe(401);
      expect(await missing.json()).toMatchObject({ type: "error", error: { type: "authentication_error" } });
      const stranger = new Anthropic({ baseURL: platform.devJson.gateway_url, apiKey: "wrong", maxRetries: 0 });
      await expect(stranger.beta.sessions.list()).rejects.toThrow(Anthropic.AuthenticationError);
    });

    it("answers 400 for malformed JSON, naming the problem", async () => {
      const answer = await fetch(url("/v1/agents"), { method: "POST", headers: headers(), body: '{"name": ' });
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ type: "error", error: { type: "invalid_request_error" } });
    });

    it("answers 400 for a wrong type, naming the field", async () => {
      const body = JSON.stringify({ events: [{ type: "user.message", content: 7 }] });
      const answer = await fetch(url(`/v1/sessions/${sessionId}/events`), { method: "POST", headers: headers(), body });
      expect(answer.status).toBe(400);
      expect(JSON.stringify(await answer.json())).toContain("events[0].content");
    });

    it("refuses an oversized frame with the limit and the size", async () => {
      const store = createRpcClient(SessionService, {
        address: platform.devJson.grpc.session_store,
        defaultDeadlineMs: 10_000,
      });
      const text = "x".repeat(600 * kib);
      const event = encodeEvent({ id: "sevt_big", type: "user.message", content: [{ type: "text", text }] });
      const emitted = store.emitEvents(create(EmitEventsRequestSchema, { sessionId, events: [event] }));
      await expect(emitted).rejects.toMatchObject({ kind: "invalid", reason: "TOO_LARGE" });
      await store.close();
    });

    it("is still up afterwards", async () => {
      await runTurn("Still there?");
    });
  });

  async function runTurn(text: string): Promise<void> {
    const stream = await client.beta.sessions.events.stream(sessionId);
    await client.beta.sessions.events.send(sessionId, {
      events: [{ type: "user.message", content: [{ type: "text", text }] }],
    });
    for await (const event of stream) {
      if (event.type !== "session.status_idle") continue;
      expect(event.stop_reason.type).toBe("end_turn");
      return;
    }
    throw new Error("the stream ended before the turn did");
  }
});

async function containersOf(sessionId: string): Promise<number> {
  const engine = await findDockerEngine();
  if (!engine.answers) throw new Error(engine.reason);
  const label = `dev.manyhands.session=${sessionId}`;
  return (await engine.docker.listContainers({ all: true, filters: { label: [label] } })).length;
}
