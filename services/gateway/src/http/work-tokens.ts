/** Callers behind tokens of work items, which the queue alone can judge. */
import { toAppError } from "@manyhands/kit";
import { WorkUse } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { OperationName } from "../operations.ts";
import type { WorkTokens } from "./auth.ts";

const TOKEN = /^sk-ant-req-(work_\d{1,9}_[A-Za-z0-9_-]{1,128})\.[A-Za-z0-9_-]{43}$/;

/**
 * Asks the queue who holds a token, for one operation. Heartbeat and stop are let through unasked: the queue checks
 * the token with them, and answers a holder that lost its lease in their own words.
 */
export function workTokens(deps: Pick<Deps, "work">, op: OperationName): WorkTokens {
  const use = op === "sessions.events.list" || op === "sessions.events.stream" ? WorkUse.READ_EVENTS : WorkUse.CALL;
  return async (token, request) => {
    const workId = TOKEN.exec(token)?.[1];
    if (workId === undefined) return undefined;
    const base = { keyId: workId, isHarness: false };
    if (op === "environments.work.heartbeat" || op === "environments.work.stop") {
      return { ...base, workspaceId: "", work: { workId, token } };
    }
    try {
      const { item } = await deps.work.authorizeWork({ token, use }, { metadata: { "x-request-id": request.id } });
      if (item === undefined) return undefined;
      return { ...base, workspaceId: item.workspaceId, work: { workId, token, sessionId: item.sessionId } };
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.kind === "unauthenticated") return undefined;
      throw error;
    }
  };
}
