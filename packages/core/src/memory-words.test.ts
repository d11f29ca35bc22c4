import { expect, it } from "vitest";
import { parseAgent } from "./agent-config.ts";
import { withMemoryWords } from "./memory-words.ts";

const store = {
  type: "memory_store",
  memory_store_id: "memstore_1",
  name: "Team Notes",
  description: "What we know.",
  mount_path: "/mnt/memory/team-notes",
  access: "read_only",
  instructions: "Look here first.",
};

it("tells the model name, folder, access and instructions of each store, behind the agent's own words", () => {
  const agent = parseAgent({ model: { id: "m" }, system: "You help." });
  expect(withMemoryWords(agent, [{ type: "file" }])).toEqual(agent);
  expect(withMemoryWords(agent, [store]).system).toBe(
    "You help.\n\nThese memory stores are folders of your sandbox:\n" +
      "- /mnt/memory/team-notes (Team Notes): you can read it and not change it. What we know. Look here first.",
  );
  expect(withMemoryWords(parseAgent({ model: { id: "m" } }), [store]).system).toMatch(/^These memory stores/);
  expect(withMemoryWords(agent, [{ ...store, access: "read_write" }]).system).toContain("and what you change is kept");
});
