import { create } from "@bufbuild/protobuf";
import type { SessionHeader } from "@manyhands/core";
import { AppError, type MethodHandler, newId } from "@manyhands/kit";
import { EventSchema, type SessionService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { sessionRunning } from "../log/errors.ts";
import { sessionToWire } from "../log/header-wire.ts";
import { appendContext, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

/** Makes a session read-only for ever; archiving twice answers the same. */
export function archiveSession(
  deps: Pick<Deps, "log" | "cache" | "clock" | "config">,
): MethodHandler<typeof SessionService.method.archiveSession> {
  return async (request, context) => {
    const { workspaceId, sessionId } = request;
    const rule = rules();
    checkWorkspace(rule, workspaceId, false);
    checkSessionId(rule, sessionId);
    rule.done();
    const before = (await deps.cache.current(sessionId)).header;
    if (before?.workspace_id !== workspaceId) throw AppError.notFound("session", sessionId);
    if (before.archived_at !== undefined) return { session: sessionToWire(sessionId, before) };
    const event = create(EventSchema, {
      id: newId("sevt"),
      type: "session.archived",
      payload: { case: "sessionArchived", value: {} },
    });
    const { header } = await deps.log.append(
      sessionId,
      { events: [event], requestId: "", epoch: 0 },
      appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs),
      (current) => refuseWhileRunning(sessionId, current),
    );
    return { session: sessionToWire(sessionId, header) };
  };
}

/** A session at work is not closed under its brain. */
export function refuseWhileRunning(sessionId: string, header: SessionHeader): void {
  if (header.status === "running" || header.status === "rescheduling") throw sessionRunning(sessionId);
}
