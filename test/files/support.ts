/** An agent that runs the commands it is told to run, and a client of it. */
import Anthropic from "@anthropic-ai/sdk";
import type { Platform } from "@manyhands/local";

/** `run COMMAND` runs it in the hand and answers what it printed. */
export const runsCommands = {
  name: "run",
  match: { last_user_text: "^run (?<command>.+)$" },
  steps: [
    { emit: [{ tool_use: { name: "bash", input: { command: "{{match.command}}" } } }] },
    { emit: [{ text: "{{tool_result}}" }] },
  ],
};

/** The official client of a platform; it repeats nothing. */
export function clientOf(platform: Platform): Anthropic {
  return new Anthropic({ baseURL: platform.devJson.gateway_url, apiKey: platform.devJson.api_key, maxRetries: 0 });
}

/** An agent with the built-in tools and a plain environment. */
export async function setUp(client: Anthropic): Promise<{ agent: string; environment_id: string }> {
  const agent = await client.beta.agents.create({
    name: "Files",
    model: "demo-1",
    tools: [{ type: "agent_toolset_20260401" }],
  });
  const environment = await client.beta.environments.create({ name: "files", config: { type: "cloud" } });
  return { agent: agent.id, environment_id: environment.id };
}

/** One turn in which the agent runs a command; answers what it printed. */
export async function runIn(client: Anthropic, sessionId: string, command: string): Promise<string> {
  const stream = await client.beta.sessions.events.stream(sessionId);
  const events = [{ type: "user.message" as const, content: [{ type: "text" as const, text: `run ${command}` }] }];
  await client.beta.sessions.events.send(sessionId, { events });
  let words = "";
  for await (const event of stream) {
    if (event.type === "agent.message")
      words = event.content.map((block) => (block.type === "text" ? block.text : "")).join("");
    if (event.type === "session.status_idle") return words.trim();
  }
  throw new Error("the stream ended before the turn did");
}
