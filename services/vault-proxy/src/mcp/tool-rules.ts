/**
 * Which of a server's tools the model may be shown. Pure. A server is not trusted: names, sizes and schemas are bounded,
 * and what does not fit is left out by name instead of breaking the session.
 *
 * R1 a schema is an object of at most 32 KiB, 32 levels and 4 000 nodes. R2 references stay inside the schema and never
 * lead back to where they came from: whoever expands them comes to an end. R3 all tools of a session together have at
 * most 192 KiB, so that the event that records them fits a frame.
 */
import { asObject, type JsonObject } from "./json-rpc.ts";

/** A tool that may be shown. */
export type ListedTool = { readonly name: string; readonly description: string; readonly inputSchema: JsonObject };

/** What may be shown, and in words what may not. */
export type JudgedTools = { readonly tools: readonly ListedTool[]; readonly leftOut: readonly string[] };

/** Bounds of what a server may offer. */
export const TOOL_LIMITS = {
  /** Tools of one server. */
  tools: 256,
  /** Characters of a description; more is cut. */
  description: 4096,
  /** Bytes of one schema. */
  schemaBytes: 32 * 1024,
  /** Levels of one schema, references followed. */
  depth: 32,
  /** Nodes of one schema, references followed. */
  nodes: 4000,
  /** Bytes of all tools of a session. */
  allBytes: 192 * 1024,
} as const;

const NAME = /^[A-Za-z0-9_-]{1,100}$/;
const MAX_TOLD = 8;

/** Judges what a server listed; `room` is how many bytes this session's tools may still have. */
export function judgeTools(listed: readonly unknown[], room: number): JudgedTools & { readonly bytes: number } {
  const tools = new Map<string, ListedTool>();
  const leftOut: string[] = [];
  let bytes = 0;
  for (const raw of listed.slice(0, TOOL_LIMITS.tools)) {
    const judged = judgeTool(raw);
    if (typeof judged === "string") leftOut.push(judged);
    else if (tools.has(judged.name)) leftOut.push(`${judged.name} is listed twice`);
    else {
      const size = Buffer.byteLength(JSON.stringify(judged));
      if (bytes + size > room) leftOut.push(`${judged.name} does not fit any more`);
      else {
        bytes += size;
        tools.set(judged.name, judged);
      }
    }
  }
  if (listed.length > TOOL_LIMITS.tools) leftOut.push(`more than ${TOOL_LIMITS.tools} tools are listed`);
  return { tools: [...tools.values()], leftOut, bytes };
}

/** The words of what was left out, bounded. */
export function tellLeftOut(leftOut: readonly string[]): string {
  const more = leftOut.length > MAX_TOLD ? `, and ${leftOut.length - MAX_TOLD} more` : "";
  return `Some tools were left out: ${leftOut.slice(0, MAX_TOLD).join("; ")}${more}.`;
}

function judgeTool(raw: unknown): ListedTool | string {
  const tool = asObject(raw);
  const name = tool?.name;
  if (!tool || typeof name !== "string" || !NAME.test(name))
    return "a tool whose name is not 1 to 100 of A-Z a-z 0-9 _ -";
  const schema = asObject(tool.inputSchema) ?? {};
  const problem = schemaProblem(schema);
  if (problem !== undefined) return `${name}: ${problem}`;
  const description = typeof tool.description === "string" ? tool.description.slice(0, TOOL_LIMITS.description) : "";
  return { name, description, inputSchema: { ...schema, type: "object" } };
}

/** Why a schema cannot be shown; undefined when it can. */
export function schemaProblem(schema: JsonObject): string | undefined {
  if (schema.type !== undefined && schema.type !== "object") return "its input is no object";
  if (Buffer.byteLength(JSON.stringify(schema)) > TOOL_LIMITS.schemaBytes) {
    return `its schema is longer than ${TOOL_LIMITS.schemaBytes} bytes`;
  }
  let nodes = 0;
  const walk = (value: unknown, depth: number, through: readonly string[]): string | undefined => {
    nodes += 1;
    if (depth > TOOL_LIMITS.depth || nodes > TOOL_LIMITS.nodes) return "its schema is too deep or too wide";
    if (Array.isArray(value)) return firstProblem(value, (item) => walk(item, depth + 1, through));
    const object = asObject(value);
    if (!object) return undefined;
    const { $ref } = object;
    if (typeof $ref === "string") {
      if (through.includes($ref)) return "its schema refers to itself";
      if (!$ref.startsWith("#")) return "its schema refers to another document";
      const problem = walk(resolvePointer(schema, $ref), depth + 1, [...through, $ref]);
      if (problem !== undefined) return problem;
    }
    if ("$dynamicRef" in object || "$recursiveRef" in object) return "its schema refers to itself";
    return firstProblem(Object.values(object), (item) => walk(item, depth + 1, through));
  };
  return walk(schema, 0, ["#"]);
}

function firstProblem(values: readonly unknown[], judge: (value: unknown) => string | undefined): string | undefined {
  for (const value of values) {
    const problem = judge(value);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** RFC 6901 within the schema; undefined where it leads nowhere. */
function resolvePointer(root: JsonObject, ref: string): unknown {
  let value: unknown = root;
  for (const token of ref.slice(1).split("/").slice(1)) {
    const name = token.replaceAll("~1", "/").replaceAll("~0", "~");
    value = Array.isArray(value) ? value[Number(name)] : asObject(value)?.[name];
  }
  return value;
}
