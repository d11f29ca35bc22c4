import { hasWakeConsumer, publishWake } from "@manyhands/bus";
import { AppError, type MethodHandler, newId, toAppError } from "@manyhands/kit";
import { encodeEvent, type HarnessService, SessionStatus } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";

const attempts = 5;

/**
 * SwitchHarness: another kind drives the session from the next event on. A brain that holds it sees the event, lets go
 * and wakes the new kind; operations that run are followed by the next brain, a model request is asked anew.
 */
export function switchHarness(
  deps: Pick<Deps, "bus" | "sessions" | "kinds">,
): MethodHandler<typeof HarnessService.method.switchHarness> {
  return async ({ workspaceId, sessionId, kind }, { signal }) => {
    if (sessionId === "") throw AppError.invalid([{ field: "session_id", description: "is required" }]);
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(kind)) {
      throw AppError.invalid([{ field: "kind", description: "must have 1 to 64 of A-Z a-z 0-9 _ -" }]);
    }
    if (!deps.kinds.drivers.has(kind) && !(await hasWakeConsumer(deps.bus, kind))) {
      throw new AppError("conflict", {
        reason: "HARNESS_UNKNOWN",
        message: `no harness of kind ${kind} has ever been registered here`,
        details: { metadata: { kinds: [...deps.kinds.drivers.keys()].join(",") } },
      });
    }
    for (let attempt = 1; ; attempt += 1) {
      const { session } = await deps.sessions.getSession({ workspaceId, sessionId }, { signal });
      if (session === undefined) throw AppError.notFound("session", sessionId);
      const head = session.headPosition;
      if (session.harnessKind === kind) return { position: head, alreadySo: true };
      const change = { type: "session.harness_changed", from_kind: session.harnessKind, to_kind: kind } as const;
      const events = [encodeEvent({ id: newId("sevt"), ...change })];
      try {
        await deps.sessions.emitEvents({ sessionId, events, expectedPosition: head }, { signal });
      } catch (error) {
        if (toAppError(error).kind !== "conflict" || attempt >= attempts) throw error;
        continue;
      }
      const isIdle = session.status === SessionStatus.IDLE;
      if (!isIdle) await publishWake(deps.bus, { kind, sessionId });
      return { position: head, alreadySo: false };
    }
  };
}
