/** What keys with narrow rights may do. A plain key of a workspace may do everything in it. */
import { AppError } from "@manyhands/kit";
import type { Caller } from "../api-keys.ts";
import type { OperationName } from "../operations.ts";

const ofEnvironmentKeys: ReadonlySet<OperationName | undefined> = new Set([
  "environments.work.poll",
  "environments.work.ack",
  "environments.work.heartbeat",
  "environments.work.stop",
  "environments.work.list",
  "environments.work.stats",
]);
const ofItems: ReadonlySet<OperationName | undefined> = new Set([
  "environments.work.heartbeat",
  "environments.work.stop",
]);
const ofSessions: ReadonlySet<OperationName | undefined> = new Set([
  "sessions.retrieve",
  "sessions.events.list",
  "sessions.events.stream",
  "sessions.events.send",
]);
/** Of which stores, session-store judges: those that the session was given. */
const ofGivenStores: ReadonlySet<OperationName | undefined> = new Set([
  "memories.create",
  "memories.retrieve",
  "memories.list",
  "memories.update",
  "memories.delete",
]);

/** Throws AppError `denied` unless the caller may use this operation with these path parameters. */
export function checkAccess(
  { work, environmentId }: Caller,
  op: OperationName | undefined,
  param: (name: string) => string | undefined,
): void {
  if (work !== undefined) {
    const isOwnItem = ofItems.has(op) && param("w") === work.workId;
    const isOwnSession = ofSessions.has(op) && work.sessionId !== undefined && param("session") === work.sessionId;
    const isOwnMemory = ofGivenStores.has(op) && work.sessionId !== undefined;
    if (!isOwnItem && !isOwnSession && !isOwnMemory)
      throw denied("this token is for one work item and its session only");
  } else if (environmentId !== undefined) {
    if (!ofEnvironmentKeys.has(op) || param("environment") !== environmentId) {
      throw denied("this key is for the work of one environment only");
    }
  }
}

function denied(message: string): AppError {
  return AppError.denied("OUT_OF_SCOPE", message);
}
