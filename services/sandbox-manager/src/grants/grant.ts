import { AppError } from "@manyhands/kit";

/** What a grant may allow. */
export const RIGHTS = ["execute", "read", "attach", "transfer"] as const;
/** One of them. */
export type Right = (typeof RIGHTS)[number];

/** Living grants of one hand, at the most. */
export const MAX_GRANTS = 64;
/** Operations of one grant that are remembered, and so the most that run under it at once. */
export const MAX_OPERATIONS = 64;

/** A right to a hand, given by one session to another. */
export type Grant = {
  readonly grantId: string;
  /** The grant it was made from; empty when the hand's own session gave it. */
  readonly parentId: string;
  readonly fromSessionId: string;
  readonly toSessionId: string;
  readonly rights: readonly Right[];
  /** Empty: all. */
  readonly tools: readonly string[];
  readonly expiresAtMs: number;
  /** 0: not revoked. */
  readonly revokedAtMs: number;
  /** The highest epoch of the receiving session's brains seen; lower ones are FENCED. */
  readonly brainEpoch: number;
  /** Operations begun under it, oldest first, written before they begin: a revocation finds them at any manager. */
  readonly operations: readonly string[];
  /** The caller's id of the request that made it; empty without. */
  readonly requestId: string;
};

/** All grants of one hand, one record: a chain is judged, and a whole branch ended, in one compare-and-swap. */
export type HandGrants = { readonly handId: string; readonly grants: readonly Grant[] };

/** Reads what `JSON.stringify` wrote; a record of another shape is an error, not a guess. */
export function parseHandGrants(bytes: Uint8Array): HandGrants {
  const value: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
  if (!isHandGrants(value)) throw AppError.internal(new Error("a stored record of grants has another shape"));
  return value;
}

function isHandGrants(value: unknown): value is HandGrants {
  if (typeof value !== "object" || value === null) return false;
  const field = new Map<string, unknown>(Object.entries(value));
  const grants = field.get("grants");
  return typeof field.get("handId") === "string" && Array.isArray(grants) && grants.every(isGrant);
}

function isGrant(value: unknown): value is Grant {
  if (typeof value !== "object" || value === null) return false;
  const field = new Map<string, unknown>(Object.entries(value));
  const is = (type: string, names: readonly string[]) => names.every((name) => typeof field.get(name) === type);
  const rights = field.get("rights");
  return (
    is("string", ["grantId", "parentId", "fromSessionId", "toSessionId", "requestId"]) &&
    is("number", ["expiresAtMs", "revokedAtMs", "brainEpoch"]) &&
    Array.isArray(rights) &&
    rights.every(isRight) &&
    Array.isArray(field.get("tools")) &&
    Array.isArray(field.get("operations"))
  );
}

/** True for the name of a right. */
export function isRight(name: unknown): name is Right {
  return RIGHTS.some((right) => right === name);
}
