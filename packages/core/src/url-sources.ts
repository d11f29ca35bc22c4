/**
 * Where a URL may come from that web_fetch is asked for (`url_sources`): what the user said, what the client's tools
 * answered, what the others answered. Without rules any URL may be asked for.
 */
import { listOf, objectOf, stringOf } from "./agent-config.ts";
import { type ContentBlock, plainText } from "./content.ts";
import { isUnknownEvent, type Json, type JsonObject, type SessionEvent, type UnknownEvent } from "./events.ts";

/** Types that the search looks at. */
export const urlSourceTypes = [
  "user.message",
  "user.define_outcome",
  "agent.tool_use",
  "agent.mcp_tool_use",
  "agent.custom_tool_use",
  "agent.tool_result",
  "agent.mcp_tool_result",
  "user.tool_result",
  "user.custom_tool_result",
] as const;

const inText = /https?:\/\/[^\s<>"'`()[\]{}]+/gi;
const trailing = /[.,;:!?]+$/;

/**
 * A search for one URL, fed with the session's events in order: true for an event in which it stands and may. Undefined
 * where the configuration has no rules.
 */
export function urlSearch(
  url: URL,
  options: JsonObject,
): ((event: SessionEvent | UnknownEvent) => boolean) | undefined {
  if (typeof options.url_sources !== "object" || options.url_sources === null) return undefined;
  const rules = objectOf(options.url_sources);
  const wanted = plain(url.href);
  const names = new Map<string, string>();
  const says = (text: string) =>
    [...text.matchAll(inText)].some(([found]) => plain(found.replace(trailing, "")) === wanted);
  const answers = (rule: Json | undefined, id: string, content: readonly ContentBlock[] | undefined) =>
    allows(rule, names.get(id) ?? "") && says(plainText(content ?? []));
  return (event) => {
    if (isUnknownEvent(event)) return false;
    switch (event.type) {
      case "agent.tool_use":
      case "agent.mcp_tool_use":
      case "agent.custom_tool_use":
        names.set(event.id, event.name);
        return false;
      case "user.message":
        return allows(rules.user_input, "") && says(plainText(event.content));
      case "user.define_outcome":
        return allows(rules.user_input, "") && says(event.description);
      case "user.custom_tool_result":
        return answers(rules.client_tool_results, event.custom_tool_use_id, event.content);
      case "agent.tool_result":
      case "user.tool_result":
        return answers(rules.server_tool_results, event.tool_use_id, event.content);
      case "agent.mcp_tool_result":
        return answers(rules.server_tool_results, event.mcp_tool_use_id, event.content);
      default:
        return false;
    }
  };
}

/** `all`, `none`, or only or all but some tools; absent is all. */
function allows(rule: Json | undefined, tool: string): boolean {
  const { type, tools } = objectOf(rule);
  const isNamed = listOf(tools).some((one) => stringOf(objectOf(one).name) === tool);
  if (type === "none") return false;
  if (type === "only") return isNamed;
  return type === "except" ? !isNamed : true;
}

function plain(text: string): string {
  if (!URL.canParse(text)) return "";
  const url = new URL(text);
  url.hash = "";
  return url.href;
}
