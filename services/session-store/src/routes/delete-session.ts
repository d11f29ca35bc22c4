import { AppError, type MethodHandler } from "@manyhands/kit";
import type { SessionService } from "@manyhands/protocol";
import { type RemoveDeps, removeSession } from "../carry/remove-session.ts";
import type { Deps } from "../deps.ts";
import { appendContext, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

/** Removes a session for ever. */
export function deleteSession(
  deps: RemoveDeps & Pick<Deps, "clock" | "config">,
): MethodHandler<typeof SessionService.method.deleteSession> {
  return async (request, context) => {
    const { workspaceId, sessionId } = request;
    const rule = rules();
    checkWorkspace(rule, workspaceId, false);
    checkSessionId(rule, sessionId);
    rule.done();
    const hot = await deps.cache.current(sessionId);
    if (hot.header?.workspace_id !== workspaceId) throw AppError.notFound("session", sessionId);
    const bounds = appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs);
    const { frames, objects, framesLeft } = await removeSession(deps, request, bounds);
    return { framesRemoved: BigInt(frames), objectsRemoved: BigInt(objects), framesLeft: BigInt(framesLeft) };
  };
}
