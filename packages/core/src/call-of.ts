/** A tool use as it begins: who has to act on it first. */
import { objectOf } from "./agent-config.ts";
import type { EventOf } from "./events.ts";
import { placeOf } from "./granted-hands.ts";
import type { Call, CallProgress, LivingState } from "./state.ts";
import { isServerTool } from "./tool-definitions.ts";

/** The call that an event of the model's asks for, as it begins. */
export function callOf(
  state: LivingState,
  event: EventOf<"agent.tool_use" | "agent.mcp_tool_use" | "agent.custom_tool_use">,
): Call {
  const base = { id: event.id, name: event.name, input: event.input, ordinal: state.toolCalls + 1 };
  if (event.type === "agent.custom_tool_use") {
    return { ...base, kind: "custom", progress: { at: "waiting", for: "client" } };
  }
  const kind = event.type === "agent.tool_use" ? "agent" : "mcp";
  const server = event.type === "agent.mcp_tool_use" ? { server: event.mcp_server_name } : {};
  return { ...base, ...server, kind, progress: firstProgress(state, { ...base, kind }, event.evaluated_permission) };
}

function firstProgress(
  state: LivingState,
  call: Pick<Call, "name" | "kind" | "input">,
  permission?: string,
): CallProgress {
  if (permission === "deny") return { at: "denied" };
  return permission === "ask" ? { at: "waiting", for: "confirmation" } : allowed(state, call);
}

/** In a self-hosted environment what would run in the session's own hand is run and answered by a worker from outside. */
export function allowed(state: LivingState, call: Pick<Call, "name" | "kind" | "input">): CallProgress {
  const isOutside = objectOf(state.environment.config).type === "self_hosted";
  const isOwn = placeOf(state.granted ?? [], state.hand?.id, call).at === "own";
  const isWorkers = isOutside && isOwn && call.kind === "agent" && !isServerTool(call.name);
  return isWorkers ? { at: "waiting", for: "worker" } : { at: "ready" };
}
