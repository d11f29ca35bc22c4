import { AppError, type MethodHandler } from "@manyhands/kit";
import type { SessionService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { sessionToWire } from "../log/header-wire.ts";
import { checkOwner, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

/** The header, folded up to the head of this moment: what was acknowledged anywhere before the call is in. */
export function getSession(deps: Pick<Deps, "cache">): MethodHandler<typeof SessionService.method.getSession> {
  return async (request) => {
    const rule = rules();
    checkWorkspace(rule, request.workspaceId, true);
    checkSessionId(rule, request.sessionId);
    rule.done();
    const hot = await deps.cache.current(request.sessionId);
    checkOwner(hot, request.workspaceId);
    if (hot.header === undefined) throw AppError.notFound("session", request.sessionId);
    return { session: sessionToWire(request.sessionId, hot.header) };
  };
}
