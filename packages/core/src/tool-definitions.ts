/**
 * Tools as the model is shown them. Names and inputs of the built-in toolset are those of the public API, so that an
 * agent's prompt works unchanged. Order and bytes never vary, but when another session's hand is granted or the grant
 * ends: they are part of the cached prefix.
 */
import { type AgentConfig, objectOf } from "./agent-config.ts";
import type { JsonObject } from "./events.ts";
import { handField, handsFor } from "./granted-hands.ts";
import type { GrantedHand } from "./state.ts";

/** A tool as the Messages API takes it. */
export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  readonly input_schema: JsonObject;
}

const path = (description: string): JsonObject => ({ type: "string", description });

function input(properties: JsonObject, required: string[] = []): JsonObject {
  return { type: "object", properties, required, additionalProperties: false };
}

/** The tools that run in a hand. */
export const handTools: readonly ToolDefinition[] = [
  {
    name: "bash",
    description:
      "Runs a command in a persistent bash shell in your sandbox and returns its output. Variables, functions and the working directory last from call to call. Give `command`, or `restart: true` for a fresh shell. A command that runs longer than `timeout_ms` is killed; start servers in the background.",
    input_schema: input({
      command: { type: "string", description: "The command to run." },
      restart: { type: "boolean", description: "Starts a fresh shell; the old one's state is gone." },
      timeout_ms: { type: "integer", minimum: 1, description: "Milliseconds after which the command is killed." },
    }),
  },
  {
    name: "read",
    description:
      "Reads a file: text as it is, a picture (PNG, JPEG, GIF, WebP of at most 256 KiB) as a picture, the pages of a PDF as text.",
    input_schema: input(
      {
        file_path: path("The file; relative paths start at the workspace."),
        view_range: {
          type: "array",
          items: { type: "integer" },
          minItems: 2,
          maxItems: 2,
          description:
            "First and last line (of a PDF: page), counted from 1, both included; a last one of 0 or less means the end.",
        },
      },
      ["file_path"],
    ),
  },
  {
    name: "write",
    description: "Writes a file, replacing it if it exists. Missing directories are made.",
    input_schema: input(
      { file_path: path("The file; relative paths start at the workspace."), content: path("The whole new content.") },
      ["file_path", "content"],
    ),
  },
  {
    name: "edit",
    description:
      "Replaces text in a file. `old_string` must occur exactly once, unless `replace_all` is true; include enough of its surroundings.",
    input_schema: input(
      {
        file_path: path("The file; relative paths start at the workspace."),
        old_string: path("The text to replace, exactly as it stands in the file."),
        new_string: path("The text to put there."),
        replace_all: { type: "boolean", description: "Replaces every occurrence." },
      },
      ["file_path", "old_string", "new_string"],
    ),
  },
  {
    name: "glob",
    description: "Lists files whose path matches a pattern such as `src/**/*.ts`, newest first.",
    input_schema: input(
      { pattern: path("The pattern."), path: path("Directory to look in; the workspace when left out.") },
      ["pattern"],
    ),
  },
  {
    name: "grep",
    description: "Searches file contents with a regular expression and returns matching lines as `file:line:text`.",
    input_schema: input(
      { pattern: path("The regular expression."), path: path("File or directory; the workspace when left out.") },
      ["pattern"],
    ),
  },
];

/** The tools of the built-in set that the platform runs itself: they need no hand. */
export const webTools: readonly ToolDefinition[] = [
  {
    name: "web_fetch",
    description:
      "Fetches a web page or text document by its URL and returns its text. Follows redirects. Only hosts that this agent and its environment allow can be reached.",
    input_schema: input({ url: path("The address, http or https.") }, ["url"]),
  },
  {
    name: "web_search",
    description: "Searches the web and returns titles, addresses and excerpts of the best results.",
    input_schema: input({ query: path("What to look for.") }, ["query"]),
  },
];

/** Lets the model read its own log; offered by context strategies. */
export const recallTool: ToolDefinition = {
  name: "recall",
  description:
    "Looks things up in the log of this session, which keeps everything that was ever said and done in it, also what is no longer shown to you. Filter by position, event type or text; every filter is optional. Returns matching events, oldest first, each with its position.",
  input_schema: input({
    from: { type: "integer", minimum: 0, description: "First position to look at." },
    to: { type: "integer", minimum: 0, description: "Position after the last one to look at." },
    types: {
      type: "array",
      items: { type: "string" },
      description: "Event types, for instance user.message, agent.message, agent.tool_use, agent.tool_result.",
    },
    text: { type: "string", description: "Only events that contain this text; letter case does not matter." },
    newest_first: { type: "boolean", description: "Looks from the end backwards, for the latest matches." },
    limit: { type: "integer", minimum: 1, maximum: 200, description: "Most events to return; 20 when left out." },
    result_of: {
      type: "string",
      description:
        "Id of a tool use: returns a part of its result instead, beginning at offset, or with text at the next place behind it that has the text.",
    },
    offset: { type: "integer", minimum: 0, description: "With result_of: the byte of the result to begin at." },
  }),
};

const serverToolNames: ReadonlySet<string> = new Set([...webTools, recallTool].map((tool) => tool.name));

/** True for tools that the platform runs itself, outside any hand. They only read, so they may be repeated. */
export function isServerTool(name: string): boolean {
  return serverToolNames.has(name);
}

const handToolNames: ReadonlySet<string> = new Set(handTools.map((tool) => tool.name));

/** True for the built-in tools that run in a hand. */
export function isHandTool(name: string): boolean {
  return handToolNames.has(name);
}

/**
 * The tools an agent may use, built-in ones first, then its own in the order of its configuration. `granted` are the hands of
 * other sessions that they may be used in. A custom tool with
 * the name of an enabled built-in one is left out: names must be unique. Tools of MCP servers come from the log: see mcp-tools.ts.
 */
export function toolDefinitions(agent: AgentConfig, granted: readonly GrantedHand[] = []): ToolDefinition[] {
  const { toolset } = agent;
  const builtIn =
    toolset === undefined
      ? []
      : [...handTools.map((tool) => withGrantedHands(tool, granted)), ...webTools].filter(
          (tool) => (toolset.exceptions.get(tool.name) ?? toolset).enabled,
        );
  if (agent.context.recall) builtIn.push(recallTool);
  const taken = new Set(builtIn.map((tool) => tool.name));
  const custom: ToolDefinition[] = [];
  for (const tool of agent.custom) {
    if (taken.has(tool.name)) continue;
    taken.add(tool.name);
    custom.push({ name: tool.name, description: tool.description, input_schema: tool.inputSchema });
  }
  return [...builtIn, ...custom];
}

/** A tool that may be used in other sessions' hands too takes which one. */
function withGrantedHands(tool: ToolDefinition, granted: readonly GrantedHand[]): ToolDefinition {
  const hands = handsFor(granted, tool.name);
  if (hands.length === 0) return tool;
  const description =
    "Which sandbox to use; leave it out for your own. The others belong to other sessions, which work in them too and can end your right to use them.";
  const properties = {
    ...objectOf(tool.input_schema.properties),
    [handField]: { type: "string", enum: hands, description },
  };
  return { ...tool, input_schema: { ...tool.input_schema, properties } };
}
