import { AppError, type MethodHandler, newId } from "@manyhands/kit";
import { encodeEvent, type HarnessService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";

/** Interrupt: the same as emitting `user.interrupt`; session-store wakes a brain for it. */
export function interrupt(deps: Pick<Deps, "sessions">): MethodHandler<typeof HarnessService.method.interrupt> {
  return async ({ sessionId }, { signal }) => {
    if (sessionId === "") throw AppError.invalid([{ field: "session_id", description: "is required" }]);
    const event = encodeEvent({ id: newId("sevt"), type: "user.interrupt" });
    const answer = await deps.sessions.emitEvents({ sessionId, events: [event], requestId: event.id }, { signal });
    return { eventId: answer.events[0]?.id ?? event.id };
  };
}
