import { create } from "@bufbuild/protobuf";
import { AppError, type MethodHandler, newId } from "@manyhands/kit";
import { EventSchema, type SessionService } from "@manyhands/protocol";
import { purgeFrames, refuseWhileForked } from "../carry/forks.ts";
import type { Deps } from "../deps.ts";
import { refuseWhileRunning } from "./archive-session.ts";
import { appendContext, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

/**
 * Writes `session.deleted`, which ends every stream, then removes all frames before it and what stands
 * beside the log. The frame that says so stays
 * as a tombstone: it keeps the id from being used again and stops a writer that still believes in an older head.
 */
export function deleteSession(
  deps: Pick<Deps, "log" | "cache" | "store" | "side" | "index" | "lastStored" | "clock" | "config">,
): MethodHandler<typeof SessionService.method.deleteSession> {
  return async (request, context) => {
    const { workspaceId, sessionId } = request;
    const rule = rules();
    checkWorkspace(rule, workspaceId, false);
    checkSessionId(rule, sessionId);
    rule.done();
    const hot = await deps.cache.current(sessionId);
    if (hot.header?.workspace_id !== workspaceId) throw AppError.notFound("session", sessionId);
    await refuseWhileForked(deps, workspaceId, sessionId);
    const event = create(EventSchema, {
      id: newId("sevt"),
      type: "session.deleted",
      payload: { case: "sessionDeleted", value: {} },
    });
    await deps.log.remove(
      sessionId,
      { events: [event], requestId: "", epoch: 0 },
      appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs),
      (header) => refuseWhileRunning(sessionId, header),
    );
    const removed = await purgeFrames(deps, workspaceId, sessionId);
    deps.cache.drop(sessionId);
    return { framesRemoved: BigInt(removed) };
  };
}
