import type { EventType } from "./events.ts";

const types: ReadonlySet<string> = new Set([
  "user.message",
  "user.interrupt",
  "user.tool_confirmation",
  "user.custom_tool_result",
  "user.tool_result",
  "user.define_outcome",
] satisfies EventType[]);

/** True for client events that make a session running at once and wake a brain. */
export function needsBrain(type: string): boolean {
  return types.has(type);
}
