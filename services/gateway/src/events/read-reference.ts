/** Looks events up that a client's event refers to, so that an answer to nothing is refused at the door. */
import { AppError, type CallOptions, type FieldViolation, type RpcClient, toAppError } from "@manyhands/kit";
import { decodeEvent, type SessionService } from "@manyhands/protocol";
import type { ClientEventInput } from "../schemas/events.ts";

type Sessions = Pick<RpcClient<typeof SessionService>, "getEvents">;

/** Where to look. */
export type Place = { readonly workspaceId: string; readonly sessionId: string; readonly rpc: CallOptions };

/** The event of an id, or undefined when the log does not have it. */
export async function readEvent(sessions: Sessions, place: Place, eventId: string) {
  const { workspaceId, sessionId, rpc } = place;
  const slice = { case: "around" as const, value: { eventId, before: 0, after: 0 } };
  try {
    const { events } = await sessions.getEvents({ workspaceId, sessionId, slice, includePlatform: true }, rpc);
    const found = events.find((event) => event.id === eventId);
    return found && decodeEvent(found);
  } catch (thrown) {
    const error = toAppError(thrown);
    if (error.kind === "notFound" || error.kind === "invalid") return undefined;
    throw error;
  }
}

/**
 * Checks that confirmations and results answer a call that the log has and that can be answered so. A second answer to
 * the same call passes: the log keeps it and the fold ignores it, which is what retrying workers need.
 * Throws AppError `invalid` naming every event that refers to nothing.
 */
export async function checkReferences(
  sessions: Sessions,
  place: Place,
  events: readonly ClientEventInput[],
): Promise<void> {
  const problems: FieldViolation[] = [];
  for (const [index, event] of events.entries()) {
    const reference = referenceOf(event);
    if (reference === undefined) continue;
    const target = await readEvent(sessions, place, reference.id);
    const problem = target === undefined ? "is not an event of this session" : reference.problem(target);
    if (problem !== undefined) problems.push({ field: `events[${index}].${reference.field}`, description: problem });
  }
  if (problems.length > 0) throw AppError.invalid(problems);
}

type Target = NonNullable<Awaited<ReturnType<typeof readEvent>>>;
type Reference = { field: string; id: string; problem(target: Target): string | undefined };

function referenceOf(event: ClientEventInput): Reference | undefined {
  switch (event.type) {
    case "user.tool_confirmation":
      return {
        field: "tool_use_id",
        id: event.tool_use_id,
        problem: (target) => {
          const asks = "evaluated_permission" in target && target.evaluated_permission === "ask";
          const tool = target.type === "agent.tool_use" || target.type === "agent.mcp_tool_use";
          return tool && asks ? undefined : "must be a tool use that asks for confirmation";
        },
      };
    case "user.custom_tool_result":
      return {
        field: "custom_tool_use_id",
        id: event.custom_tool_use_id,
        problem: (target) => (target.type === "agent.custom_tool_use" ? undefined : "must be an agent.custom_tool_use"),
      };
    case "user.tool_result":
      return {
        field: "tool_use_id",
        id: event.tool_use_id,
        problem: (target) => (target.type === "agent.tool_use" ? undefined : "must be an agent.tool_use"),
      };
    default:
      return undefined;
  }
}
