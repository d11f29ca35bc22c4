import type { HandRecord } from "./hand-record.ts";
import type { MoveTarget } from "./hand-store.ts";

const MAX_FORMER_OPERATIONS = 128;

/** The record that a moved hand leaves behind: the move is decided once it is written. */
export function leftBehind(record: HandRecord, target: MoveTarget): HandRecord {
  const { moveId, sessionId, name, atMs, operations = [] } = target;
  const { sessionId: fromSessionId, formerOperations: before = [] } = record;
  const left = operations.map((operationId) => ({ sessionId: fromSessionId, operationId }));
  return {
    ...record,
    state: "released",
    lostReason: `transferred to ${sessionId}`,
    changedAtMs: atMs,
    movedTo: { sessionId, name },
    moved: { id: moveId, fromSessionId },
    formerOperations: [...before, ...left].slice(-MAX_FORMER_OPERATIONS),
  };
}

/** The record at the other end, made from what was left behind; `before` is what that place had. */
export function arrived(left: HandRecord, name: string, before: HandRecord | undefined): HandRecord | undefined {
  if (!left.movedTo) return undefined;
  const { movedTo, filesSessionId = left.sessionId, ...rest } = left;
  return {
    ...rest,
    sessionId: movedTo.sessionId,
    name,
    filesSessionId,
    state: "ready",
    lostReason: "",
    generation: (before?.generation ?? 0) + 1,
    brainEpoch: 0,
    speculativeUntilMs: 0,
  };
}

/** True when another hand may take a record's place. */
export function isFree(record: HandRecord | undefined): boolean {
  return record === undefined || record.state === "lost" || record.state === "released";
}
