/** Rules that several requests share. Each problem names its field. */
import { isId, isSafeToken } from "@manyhands/core";
import { AppError, type FieldViolation, type RpcContext } from "@manyhands/kit";
import type { HotSession } from "../log/hot-session.ts";
import type { AppendContext } from "../log/session-log.ts";
import { answerMarginMs } from "./answer-in-time.ts";

/** Collects problems and throws them all at once. */
export interface Rules {
  /** Notes a problem unless `holds`. */
  check(holds: boolean, field: string, description: string): void;
  /** Throws AppError `invalid` when anything was noted. */
  done(): void;
}

/** No problems yet. */
export function rules(): Rules {
  const problems: FieldViolation[] = [];
  return {
    check(holds, field, description) {
      if (!holds) problems.push({ field, description });
    },
    done() {
      if (problems.length > 0) throw AppError.invalid(problems);
    },
  };
}

const tokenRule = "must be 1 to 64 of A-Z a-z 0-9 _ -";

/** A session id, required. */
export function checkSessionId(rule: Rules, sessionId: string): void {
  rule.check(isId("session", sessionId), "session_id", "must be a session id, sesn_…");
}

/** A workspace: required, or also empty for the platform. */
export function checkWorkspace(rule: Rules, workspaceId: string, platformToo: boolean): void {
  if (workspaceId === "" && platformToo) return;
  rule.check(isSafeToken(workspaceId), "workspace_id", workspaceId === "" ? "is required" : tokenRule);
}

/** A request id, optional. */
export function checkRequestId(rule: Rules, requestId: string): void {
  rule.check(requestId === "" || isSafeToken(requestId), "request_id", tokenRule);
}

/** Title and metadata as sessions have them. `removing`: an empty value removes the key. */
export function checkTitleAndMetadata(
  rule: Rules,
  title: string,
  metadata: Readonly<Record<string, string>>,
  removing = false,
): void {
  rule.check([...title].length <= 256, "title", "must be at most 256 characters");
  const pairs = Object.entries(metadata);
  rule.check(pairs.length <= 16, "metadata", `must hold at most 16 pairs, holds ${pairs.length}`);
  for (const [key, value] of pairs) {
    rule.check(key.length >= 1 && key.length <= 64, "metadata", "keys must be 1 to 64 characters");
    rule.check(value.length <= 512, `metadata.${key}`, "must be at most 512 characters");
    rule.check(removing || value.length > 0, `metadata.${key}`, "must not be empty");
  }
}

/** A session of another workspace is as absent as one that never was. */
export function checkOwner(hot: HotSession, workspaceId: string): void {
  if (workspaceId !== "" && hot.header?.workspace_id !== workspaceId) {
    throw AppError.notFound("session", hot.sessionId);
  }
}

/** Deadline, cancellation and trace of an append: what the caller asked for, at most the default. */
export function appendContext(context: RpcContext, nowMs: number, defaultTimeoutMs: number): AppendContext {
  const { deadlineMs = Number.POSITIVE_INFINITY } = context;
  const { traceparent } = context.metadata;
  return {
    deadlineMs: Math.min(deadlineMs - answerMarginMs(deadlineMs - nowMs), nowMs + defaultTimeoutMs),
    signal: context.signal,
    ...(traceparent === undefined ? {} : { traceparent }),
  };
}

/** JSON of a field; throws AppError `invalid` naming it. Empty bytes mean `fallback`. */
export function parseJson<T>(field: string, bytes: Uint8Array, fallback?: T): unknown {
  if (bytes.length === 0 && fallback !== undefined) return fallback;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw AppError.invalid([{ field, description: bytes.length === 0 ? "is required" : "must be JSON in UTF-8" }]);
  }
}

/** True for a JSON object. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
