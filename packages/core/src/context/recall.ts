/** The recall tool's question and answer, apart from the reading itself. */
import { listOf } from "../agent-config.ts";
import { type ContentBlock, plainText } from "../content.ts";
import { isPlatformEvent, isUnknownEvent, type JsonObject, type SessionEvent, type UnknownEvent } from "../events.ts";
import type { ResultPart } from "../long-result.ts";
import { boundText } from "../recovery.ts";

/** What the model asked for. */
export interface RecallQuery {
  readonly from: number;
  /** Absent means the end of the log. */
  readonly to?: number;
  /** Empty means all types but the platform's own. */
  readonly types: readonly string[];
  /** In lower case; empty means any. */
  readonly text: string;
  readonly newestFirst: boolean;
  readonly limit: number;
  /** A part of the result of this tool use, and nothing else. */
  readonly resultOf?: ResultPart & { readonly id: string };
}

const defaultLimit = 20;
const maxLimit = 200;
/** Bytes shown of one event when several match. */
const bytesPerEvent = 4_000;

/** Reads the tool's input; `problem` names the field and the rule. */
export function readRecallQuery(input: JsonObject): { query: RecallQuery } | { problem: string } {
  const { from = 0, to, types = [], text = "", newest_first = false, limit = defaultLimit } = input;
  const { result_of, offset = 0 } = input;
  if (!isCount(from)) return { problem: "from must be a whole number from 0" };
  if (to !== undefined && !isCount(to)) return { problem: "to must be a whole number from 0" };
  if (typeof text !== "string") return { problem: "text must be a string" };
  if (typeof newest_first !== "boolean") return { problem: "newest_first must be true or false" };
  if (!isCount(limit) || limit < 1 || limit > maxLimit) {
    return { problem: `limit must be a whole number from 1 to ${maxLimit}` };
  }
  if (result_of !== undefined && typeof result_of !== "string") return { problem: "result_of must be a string" };
  if (!isCount(offset)) return { problem: "offset must be a whole number from 0" };
  const names = listOf(types).filter((name) => typeof name === "string");
  if (!Array.isArray(types) || names.length !== types.length) return { problem: "types must be a list of strings" };
  return {
    query: {
      from,
      ...(to === undefined ? {} : { to }),
      types: names,
      text: text.toLowerCase(),
      newestFirst: newest_first,
      limit,
      ...(result_of === undefined ? {} : { resultOf: { id: result_of, offset, text: text.toLowerCase() } }),
    },
  };
}

/** The event as the model reads it, or undefined when it does not match. */
export function recalled(event: SessionEvent | UnknownEvent, query: RecallQuery): string | undefined {
  if (isUnknownEvent(event) || isPlatformEvent(event.type)) return undefined;
  if (query.types.length > 0 && !query.types.includes(event.type)) return undefined;
  const words = wordsOf(event);
  if (words === undefined) return undefined;
  return query.text === "" || words.toLowerCase().includes(query.text) ? words : undefined;
}

/** The whole answer, bounded; `more` when the limit left matches out. */
export function recallAnswer(
  found: readonly { readonly position: number; readonly type: string; readonly words: string }[],
  more: boolean,
  maxBytes: number,
): string {
  if (found.length === 0) return "Nothing in the log matches.";
  const perEvent = found.length === 1 ? maxBytes : bytesPerEvent;
  const lines = found.map(({ position, type, words }) => `#${position} ${type}\n${boundText(words, perEvent)}`);
  const hint = more
    ? ["(There are more matches: narrow the filters, or ask for a single position to see it whole.)"]
    : [];
  return boundText([...lines, ...hint].join("\n\n"), maxBytes);
}

/** What an event says; undefined for those that say nothing a model could use. */
function wordsOf(event: SessionEvent): string | undefined {
  switch (event.type) {
    case "user.message":
    case "system.message":
    case "agent.message":
      return blocks(event.content);
    case "user.define_outcome":
      return event.description;
    case "agent.thread_context_compacted":
      return event.summary === "" ? undefined : event.summary;
    case "agent.tool_use":
    case "agent.custom_tool_use":
      return `${event.name} ${JSON.stringify(event.input)}`;
    case "agent.mcp_tool_use":
      return `${event.mcp_server_name}: ${event.name} ${JSON.stringify(event.input)}`;
    case "agent.tool_result":
    case "agent.mcp_tool_result":
    case "user.tool_result":
    case "user.custom_tool_result":
      return blocks(event.content ?? []);
    case "session.error":
      return event.error.message;
    default:
      return undefined;
  }
}

function blocks(content: readonly ContentBlock[]): string {
  const others = content.filter((block) => block.type !== "text").map((block) => `[${block.type}]`);
  return [plainText(content), ...others].filter((part) => part !== "").join("\n");
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}
