/** One session in the queue of its self-hosted environment, as it is stored: one record per session, its latest item. */
import { AppError } from "@manyhands/kit";

/** Where an item stands; the words of the public protocol. */
export type WorkState = "queued" | "starting" | "active" | "stopping" | "stopped";

/** The record. Times are milliseconds since 1970; absent means it has not happened to the present item or claim. */
export type WorkRecord = {
  /** 1 for a session's first item; part of the item's id. */
  readonly generation: number;
  readonly workspaceId: string;
  readonly environmentId: string;
  readonly sessionId: string;
  readonly state: WorkState;
  readonly metadata: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly claimedAtMs?: number;
  readonly acknowledgedAtMs?: number;
  readonly startedAtMs?: number;
  readonly heartbeatAtMs?: number;
  readonly stopRequestedAtMs?: number;
  readonly stoppedAtMs?: number;
  /** Until then nobody but the holder may have it. */
  readonly leaseEndsAtMs?: number;
  /** The last heartbeat's name, and the one before: an answer may get lost. */
  readonly heartbeat: string;
  readonly heartbeatBefore: string;
  /** SHA-256 of the token of the present claim, hexadecimal; empty when there is none. */
  readonly tokenHash: string;
  /** Those of earlier claims, the latest last. */
  readonly formerTokens: readonly string[];
  /** The present claim has read the session's events: its open tool uses may be run by now. */
  readonly hasRead: boolean;
  /** An earlier claim had read them, and nobody has answered yet for what it may have run. */
  readonly unsettled: boolean;
  /** With it: when the last such claim ended; what came into the log later no former worker was shown. */
  readonly unsettledUntilMs?: number;
  /** The session was offered while it was held. */
  readonly offeredAgain: boolean;
};

const ID = /^work_([1-9]\d{0,8})_([A-Za-z0-9_-]{1,128})$/;

/** `work_{generation}_{session}`. */
export function workIdOf({ generation, sessionId }: Pick<WorkRecord, "generation" | "sessionId">): string {
  return `work_${generation}_${sessionId}`;
}

/** The parts of an item's id; undefined when it is none. */
export function parseWorkId(id: string): { readonly generation: number; readonly sessionId: string } | undefined {
  const [, generation, sessionId] = ID.exec(id) ?? [];
  return generation === undefined || sessionId === undefined
    ? undefined
    : { generation: Number(generation), sessionId };
}

/** A stored record. Throws AppError `internal` when it has another shape. */
export function parseWorkRecord(bytes: Uint8Array): WorkRecord {
  const value: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
  if (!isWorkRecord(value)) throw AppError.internal(new Error("a stored work item has another shape"));
  return value;
}

function isWorkRecord(value: unknown): value is WorkRecord {
  if (typeof value !== "object" || value === null) return false;
  const field = new Map(Object.entries(value));
  const texts = ["workspaceId", "environmentId", "sessionId", "state", "heartbeat", "heartbeatBefore", "tokenHash"];
  const flags = ["hasRead", "unsettled", "offeredAgain"];
  return (
    texts.every((name) => typeof field.get(name) === "string") &&
    flags.every((name) => typeof field.get(name) === "boolean") &&
    typeof field.get("generation") === "number" &&
    typeof field.get("createdAtMs") === "number" &&
    Array.isArray(field.get("formerTokens"))
  );
}
