/** What the model is told of the memory stores that its session was given. */
import { type AgentConfig, stringOf } from "./agent-config.ts";
import type { JsonObject } from "./events.ts";

/** The agent of a session: its system prompt ends with the words for the session's memory stores. */
export function withMemoryWords(agent: AgentConfig, resources: readonly JsonObject[]): AgentConfig {
  const system = [agent.system, memoryWords(resources)].filter((words) => words !== "").join("\n\n");
  return { ...agent, system };
}

/** Words for the system prompt; empty without stores. */
export function memoryWords(resources: readonly JsonObject[]): string {
  const stores = resources.filter(({ type }) => type === "memory_store");
  if (stores.length === 0) return "";
  return ["These memory stores are folders of your sandbox:", ...stores.map(wordsOf)].join("\n");
}

const mayChange = "you can read and change it, and what you change is kept: files of text, at most 100 KiB each";

function wordsOf({ name, mount_path, access, description, instructions }: JsonObject): string {
  const may = access === "read_only" ? "you can read it and not change it" : mayChange;
  const told = [stringOf(description), stringOf(instructions)].filter((text) => text !== "");
  return [`- ${stringOf(mount_path)} (${stringOf(name)}): ${may}.`, ...told].join(" ");
}
