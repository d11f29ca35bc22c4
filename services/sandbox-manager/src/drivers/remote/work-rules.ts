/**
 * What may become of an item, without any clock or store.
 *
 * W1 At most one token is good for a session at any time, and none past the end of its lease.
 * W2 Whoever has read the session's events and is gone leaves the next claim `unsettled`: what it was shown may have
 *    been run, so the next worker is not shown it before it was answered as unknown.
 * W3 A claim that never read them leaves nothing behind: its work is simply given to the next.
 */
import { AppError } from "@manyhands/kit";
import { type WorkRecord, workIdOf } from "./work-record.ts";

/** What a first heartbeat expects. */
export const NO_HEARTBEAT = "NO_HEARTBEAT";
const FORMER_TOKENS = 8;

type Whose = Pick<WorkRecord, "workspaceId" | "environmentId" | "sessionId">;

/** The session's item after an offer. */
export function offered(before: WorkRecord | undefined, whose: Whose, nowMs: number): WorkRecord {
  if (before && before.state !== "stopped") {
    return before.state === "queued" || before.offeredAgain ? before : { ...before, offeredAgain: true };
  }
  return {
    ...whose,
    generation: (before?.generation ?? 0) + 1,
    state: "queued",
    metadata: {},
    createdAtMs: nowMs,
    // A worker that was stopped from outside may still be at it until its lease ends.
    ...(before?.leaseEndsAtMs === undefined ? {} : { leaseEndsAtMs: before.leaseEndsAtMs }),
    heartbeat: "",
    heartbeatBefore: "",
    tokenHash: "",
    formerTokens: before?.formerTokens ?? [],
    hasRead: false,
    unsettled: before?.unsettled ?? false,
    ...(before?.unsettledUntilMs === undefined ? {} : { unsettledUntilMs: before.unsettledUntilMs }),
    offeredAgain: false,
  };
}

/** True when a worker may claim it now. */
export function isFree(record: WorkRecord, nowMs: number, reclaimMs: number): boolean {
  const leased = record.leaseEndsAtMs !== undefined && nowMs < record.leaseEndsAtMs;
  if (leased || record.state === "stopped" || record.state === "stopping") return false;
  return record.state !== "queued" || record.claimedAtMs === undefined || nowMs - record.claimedAtMs > reclaimMs;
}

/** Claimed anew; the former holder, if there was one, has nothing any more. */
export function claimed(record: WorkRecord, tokenHash: string, nowMs: number): WorkRecord {
  const { acknowledgedAtMs: _a, startedAtMs: _s, heartbeatAtMs: _h, leaseEndsAtMs: _l, ...rest } = record;
  return {
    ...rest,
    state: "queued",
    claimedAtMs: nowMs,
    heartbeat: "",
    heartbeatBefore: "",
    tokenHash,
    formerTokens: [...record.formerTokens, record.tokenHash].filter((hash) => hash !== "").slice(-FORMER_TOKENS),
    ...leftBy(record, record.leaseEndsAtMs ?? nowMs),
  };
}

/** What a claim that ended then leaves to be answered for. */
function leftBy(record: WorkRecord, endedAtMs: number) {
  if (!record.hasRead) return { hasRead: false };
  return { hasRead: false, unsettled: true, unsettledUntilMs: Math.max(endedAtMs, record.unsettledUntilMs ?? 0) };
}

/** Taken out of the queue. Repeating it before the first heartbeat changes nothing: only one holds the token. */
export function acknowledged(record: WorkRecord, nowMs: number, leaseMs: number): WorkRecord {
  if (record.state === "starting" && record.heartbeat === "") return record;
  if (record.state !== "queued" || record.tokenHash === "") throw taken(record);
  return { ...record, state: "starting", acknowledgedAtMs: nowMs, leaseEndsAtMs: nowMs + leaseMs };
}

/** After a heartbeat. An item that is to end keeps its lease as it is. */
export function beaten(
  record: WorkRecord,
  asked: { readonly expected: string; readonly byToken: boolean },
  nowMs: number,
  leaseMs: number,
): WorkRecord {
  if (record.state === "stopping" || record.state === "stopped") return record;
  const expected = asked.expected === NO_HEARTBEAT ? "" : asked.expected;
  const isRepeat = asked.byToken && record.heartbeat !== "" && expected === record.heartbeatBefore;
  if (record.state === "queued" || (expected !== record.heartbeat && !isRepeat)) throw mismatch(record, leaseMs);
  // A name of its own for every heartbeat, also for two in one millisecond.
  const atMs = Math.max(nowMs, record.heartbeat === "" ? 0 : Date.parse(record.heartbeat) + 1);
  return {
    ...record,
    state: "active",
    startedAtMs: record.startedAtMs ?? nowMs,
    heartbeatAtMs: nowMs,
    heartbeatBefore: isRepeat ? record.heartbeatBefore : record.heartbeat,
    heartbeat: new Date(atMs).toISOString(),
    leaseEndsAtMs: nowMs + leaseMs,
  };
}

/** After a stop. The item's own worker lets go of everything; what somebody else stops may run until its lease ends. */
export function stopped(record: WorkRecord, asked: { force: boolean; byToken: boolean }, nowMs: number): WorkRecord {
  if (record.state === "stopped") return record;
  const isHeld = record.state === "starting" || record.state === "active" || record.state === "stopping";
  if (!asked.force && !asked.byToken && isHeld) {
    return { ...record, state: "stopping", stopRequestedAtMs: record.stopRequestedAtMs ?? nowMs };
  }
  const { leaseEndsAtMs, ...rest } = record;
  return {
    ...rest,
    state: "stopped",
    stopRequestedAtMs: record.stopRequestedAtMs ?? nowMs,
    stoppedAtMs: nowMs,
    ...(asked.byToken || leaseEndsAtMs === undefined ? {} : { leaseEndsAtMs }),
    tokenHash: "",
    formerTokens: [...record.formerTokens, record.tokenHash].filter((hash) => hash !== "").slice(-FORMER_TOKENS),
    ...leftBy(record, asked.byToken ? nowMs : (leaseEndsAtMs ?? nowMs)),
  };
}

/** An item that was to end and whose worker has not been heard of since: it has ended. */
export function isOverdue(record: WorkRecord, nowMs: number): boolean {
  return record.state === "stopping" && (record.leaseEndsAtMs ?? 0) <= nowMs;
}

function taken(record: WorkRecord): AppError {
  return AppError.conflict("WORK_TAKEN", `${workIdOf(record)} is ${record.state} and cannot be acknowledged`);
}

function mismatch(record: WorkRecord, leaseMs: number): AppError {
  return AppError.conflict("HEARTBEAT_MISMATCH", "expected_last_heartbeat: is not the last heartbeat of this item", {
    last_heartbeat: record.heartbeat,
    state: record.state,
    ttl_seconds: String(Math.ceil(leaseMs / 1000)),
  });
}
