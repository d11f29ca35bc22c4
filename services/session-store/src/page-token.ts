/**
 * Page tokens: where the next page begins, bound to the query it belongs to. Opaque to clients. A token of another
 * query, version or maker is an invalid argument.
 */
import { createHash } from "node:crypto";
import { AppError } from "@manyhands/kit";

const version = 1;

/** What binds a token: the whole request but page size and token. */
export function queryHash(query: unknown): string {
  const text = JSON.stringify(query, (_, value: unknown) => {
    if (typeof value === "bigint") return `${value}n`;
    return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
  });
  return createHash("sha256").update(text).digest("base64url").slice(0, 16);
}

/** A token for a cursor of a query. */
export function encodePageToken(query: string, cursor: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify([version, query, ...cursor])).toString("base64url");
}

/** The cursor of a token; undefined for an empty token. Throws AppError `invalid` naming `page_token`. */
export function decodePageToken(query: string, token: string): readonly (string | number)[] | undefined {
  if (token === "") return undefined;
  const bad = (description: string) => AppError.invalid([{ field: "page_token", description }]);
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
  } catch {
    throw bad("is not a token of this service");
  }
  const simple = (part: unknown): part is string | number => typeof part === "string" || typeof part === "number";
  if (!Array.isArray(parts) || !parts.every(simple) || parts[0] !== version)
    throw bad("is not a token of this service");
  if (parts[1] !== query) throw bad("belongs to another query; filters and order must stay the same between pages");
  return parts.slice(2);
}

/** A page size: 0 means the default. Throws AppError `invalid` naming `page_size`. */
export function pageSize(requested: number, fallback: number): number {
  if (requested === 0) return fallback;
  if (requested <= 1000) return requested;
  throw AppError.invalid([{ field: "page_size", description: "must be 1 to 1000, or 0 for the default" }]);
}
