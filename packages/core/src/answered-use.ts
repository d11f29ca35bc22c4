import { isUnknownEvent, type SessionEvent, type UnknownEvent } from "./events.ts";

/** Id of the tool use whose result an event is; undefined for every other event. */
export function answeredUse(event: SessionEvent | UnknownEvent): string | undefined {
  if (isUnknownEvent(event)) return undefined;
  switch (event.type) {
    case "agent.tool_result":
    case "user.tool_result":
      return event.tool_use_id;
    case "agent.mcp_tool_result":
      return event.mcp_tool_use_id;
    case "user.custom_tool_result":
      return event.custom_tool_use_id;
    default:
      return undefined;
  }
}
