import { publishWake } from "@manyhands/bus";
import { AppError, type MethodHandler } from "@manyhands/kit";
import type { HarnessService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";

/** Wake: durable when answered; the session's own kind decides who hears it. */
export function wake(deps: Pick<Deps, "bus" | "sessions">): MethodHandler<typeof HarnessService.method.wake> {
  return async ({ sessionId }, { signal, metadata }) => {
    if (sessionId === "") throw AppError.invalid([{ field: "session_id", description: "is required" }]);
    const { session } = await deps.sessions.getSession({ sessionId }, { signal });
    const { traceparent } = metadata;
    const published = await publishWake(deps.bus, {
      kind: session?.harnessKind || "default",
      sessionId,
      ...(traceparent === undefined ? {} : { traceparent }),
    });
    return { alreadyAwake: published === "pending" };
  };
}
