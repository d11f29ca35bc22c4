import type Anthropic from "@anthropic-ai/sdk";

/** The tools as a harness offers them, in short. */
export const TOOLS: Anthropic.Tool[] = ["bash", "read", "write", "edit", "glob", "grep"].map((name) => ({
  name,
  description: `the ${name} tool`,
  input_schema: { type: "object" },
}));
