/** Wakes between turns: a message that arrives while the last turn's wake is being settled must not wait for anything. */
import Anthropic from "@anthropic-ai/sdk";
import { connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { startPlatform } from "@manyhands/local";
import { expect, it } from "vitest";

const turns = 40;

it("delivers each wake once when every message follows at once on the idle before it", async () => {
  const platform = await startPlatform({ handDriver: "virtual" });
  const bus = await connectBus({ url: platform.devJson.nats_url, name: "e2e", logger: silentLogger() });
  try {
    const client = new Anthropic({ baseURL: platform.devJson.gateway_url, apiKey: platform.devJson.api_key });
    const agent = await client.beta.agents.create({ name: "wakes", model: "claude-sonnet-5-5" });
    const environment = await client.beta.environments.create({ name: "wakes", config: { type: "cloud" } });
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    const send = () =>
      client.beta.sessions.events.send(session.id, {
        events: [{ type: "user.message", content: [{ type: "text", text: "hello" }] }],
      });
    const stream = await client.beta.sessions.events.stream(session.id);
    await send();
    let idles = 0;
    for await (const event of stream) {
      if (event.type !== "session.status_idle") continue;
      idles += 1;
      if (idles === turns) break;
      await send();
    }
    expect(idles).toBe(turns);

    const info = async (subject: string) =>
      (await bus.connection.request(`$JS.API.${subject}`, "", { timeout: 5_000 })).json<{
        state?: { last_seq: number };
        delivered?: { consumer_seq: number };
      }>();
    const published = (await info("STREAM.INFO.MH_WAKE")).state?.last_seq ?? 0;
    const delivered = (await info("CONSUMER.INFO.MH_WAKE.wake-default")).delivered?.consumer_seq;
    expect(published).toBeGreaterThan(0);
    expect(delivered).toBe(published);
  } finally {
    await bus.close();
    await platform.stop();
  }
});

it("answers each message once when two brains share the wakes and the messages come at once", async () => {
  const platform = await startPlatform({ handDriver: "virtual", harness: 2 });
  try {
    const client = new Anthropic({ baseURL: platform.devJson.gateway_url, apiKey: platform.devJson.api_key });
    const agent = await client.beta.agents.create({ name: "wakes", model: "claude-sonnet-5-5" });
    const environment = await client.beta.environments.create({ name: "wakes", config: { type: "cloud" } });
    const talk = async () => {
      const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
      const send = () =>
        client.beta.sessions.events.send(session.id, {
          events: [{ type: "user.message", content: [{ type: "text", text: "hello" }] }],
        });
      const stream = await client.beta.sessions.events.stream(session.id);
      await send();
      const seen = { answers: 0, idles: 0 };
      for await (const event of stream) {
        if (event.type === "agent.message") seen.answers += 1;
        if (event.type !== "session.status_idle") continue;
        seen.idles += 1;
        if (seen.idles === turns) return seen;
        await send();
      }
      return seen;
    };
    const talks = await Promise.all([talk(), talk(), talk()]);
    expect(talks).toEqual(Array.from({ length: 3 }, () => ({ answers: turns, idles: turns })));
  } finally {
    await platform.stop();
  }
});
