/** The logs of the sessions between which hands are passed, and which workspace they are of. */
import type { NewEvent } from "@manyhands/core";
import { AppError, type RpcClient, toAppError } from "@manyhands/kit";
import { encodeEvent, type SessionService } from "@manyhands/protocol";

/** What passing hands needs of sessions. */
export type SessionLog = {
  /** The session's workspace. NOT_FOUND; `conflict` SESSION_ARCHIVED where it takes no events any more. */
  workspaceOf(sessionId: string): Promise<string>;
  /** Appends; the same `requestId` in the same session appends nothing twice. A session that is gone needs no record. */
  record(sessionId: string, requestId: string, event: NewEvent): Promise<void>;
};

/** By session-store. */
export function createSessionLog(
  sessions: Pick<RpcClient<typeof SessionService>, "getSession" | "emitEvents">,
): SessionLog {
  return {
    async workspaceOf(sessionId) {
      const { session } = await sessions.getSession({ workspaceId: "", sessionId });
      if (!session) throw AppError.notFound("session", sessionId);
      if (session.archivedAt) throw AppError.conflict("SESSION_ARCHIVED", `session ${sessionId} is archived`);
      return session.workspaceId;
    },
    async record(sessionId, requestId, event) {
      try {
        await sessions.emitEvents({ workspaceId: "", sessionId, requestId, epoch: 0n, events: [encodeEvent(event)] });
      } catch (error) {
        const { kind, reason } = toAppError(error);
        if (kind !== "notFound" && reason !== "SESSION_CLOSED") throw error;
      }
    },
  };
}
