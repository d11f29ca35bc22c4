import type { Hand } from "../drivers/driver.ts";
import { bash } from "./bash.ts";
import { edit } from "./edit.ts";
import { glob } from "./glob.ts";
import { grep } from "./grep.ts";
import { read } from "./read.ts";
import { errorAnswer, type Tool, type ToolPlan } from "./tool.ts";
import { InputError } from "./tool-input.ts";
import { write } from "./write.ts";

const TOOLS: ReadonlyMap<string, Tool> = new Map(
  [bash, read, write, edit, glob, grep].map((tool) => [tool.name, tool]),
);

/** Decides what a tool call does. What is wrong with it is an answer for the model, never an error of the call. */
export async function planTool(name: string, inputJson: Uint8Array, hand: Pick<Hand, "look">): Promise<ToolPlan> {
  const tool = TOOLS.get(name);
  if (!tool) return errorAnswer(`name: there is no tool ${name}; there are ${[...TOOLS.keys()].join(", ")}`);
  let input: unknown;
  try {
    input = inputJson.length === 0 ? {} : JSON.parse(Buffer.from(inputJson).toString("utf8"));
  } catch {
    return errorAnswer("input: must be a JSON object");
  }
  if (typeof input !== "object" || input === null || Array.isArray(input))
    return errorAnswer("input: must be a JSON object");
  try {
    return await tool.plan({ ...input }, hand);
  } catch (error) {
    if (error instanceof InputError) return errorAnswer(error.message);
    throw error;
  }
}
