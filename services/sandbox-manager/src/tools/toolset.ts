import { bash } from "./bash.ts";
import { edit } from "./edit.ts";
import { glob } from "./glob.ts";
import { grep } from "./grep.ts";
import { read } from "./read.ts";
import { errorResult, type Tool, type ToolCall, type ToolResult } from "./tool.ts";
import { InputError } from "./tool-input.ts";
import { write } from "./write.ts";

const TOOLS: ReadonlyMap<string, Tool> = new Map(
  [bash, read, write, edit, glob, grep].map((tool) => [tool.name, tool]),
);

/** A call, or what is wrong with it: an answer for the model, never an error of the RPC. */
export type Checked = { readonly call: ToolCall } | { readonly refusal: ToolResult };

/** Checks a tool call's name and input. */
export function checkCall(name: string, input: unknown): Checked {
  const tool = TOOLS.get(name);
  if (!tool)
    return { refusal: errorResult(`name: there is no tool ${name}; there are ${[...TOOLS.keys()].join(", ")}`) };
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    return { refusal: errorResult("input: must be a JSON object") };
  }
  try {
    return { call: tool.check({ ...input }) };
  } catch (error) {
    if (error instanceof InputError) return { refusal: errorResult(error.message) };
    throw error;
  }
}
