/** Rules that agents and environments share: configuration bytes, canonical comparison, ids from request ids, pages. */
import { createHash } from "node:crypto";
import { AppError, newId } from "@manyhands/kit";
import { tooLarge } from "../log/errors.ts";
import { decodePageToken, encodePageToken, pageSize, queryHash } from "../page-token.ts";
import { isJsonObject, parseJson } from "../routes/request-rules.ts";

const maxConfigBytes = 256 * 1024;
const defaultPageSize = 20;

/** Tries of a compare-and-swap before a caller is told that others are faster. */
export const maxSwaps = 16;

/** A configuration: a JSON object of at most 256 KiB. Throws AppError `invalid` naming the field. */
export function parseConfig(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.length > maxConfigBytes) throw tooLarge("config_json", "its size in bytes", maxConfigBytes, bytes.length);
  const config = parseJson("config_json", bytes);
  if (!isJsonObject(config)) throw AppError.invalid([{ field: "config_json", description: "must be a JSON object" }]);
  return config;
}

/** True when both mean the same, whatever the order of keys. */
export function sameConfig(a: Uint8Array, b: Uint8Array): boolean {
  return canonical(parseJson("config_json", a)) === canonical(parseJson("config_json", b));
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    isJsonObject(item) ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1))) : item,
  );
}

/** A new id; from a request id always the same one in the same workspace. */
export function idFor(prefix: string, workspaceId: string, requestId: string): string {
  if (requestId === "") return newId(prefix);
  const digest = createHash("sha256").update(`${prefix}\n${workspaceId}\n${requestId}`).digest("base64url");
  return `${prefix}_${digest.slice(0, 24)}`;
}

/** One page of a list that is ordered already. The token names the last item of the page before. */
export function pageOf<T>(
  all: readonly T[],
  keyOf: (item: T) => string,
  request: { readonly pageSize: number; readonly pageToken: string },
): { readonly items: T[]; readonly nextPageToken: string } {
  const query = queryHash({ ...request, pageSize: 0, pageToken: "" });
  const size = pageSize(request.pageSize, defaultPageSize);
  const cursor = decodePageToken(query, request.pageToken);
  const at = cursor === undefined ? -1 : all.findIndex((item) => keyOf(item) === cursor[0]);
  if (cursor !== undefined && at < 0) {
    throw AppError.invalid([{ field: "page_token", description: "names something that is gone; begin anew" }]);
  }
  const items = all.slice(at + 1, at + 1 + size);
  const last = items.at(-1);
  const more = at + 1 + size < all.length && last !== undefined;
  return { items, nextPageToken: more ? encodePageToken(query, [keyOf(last)]) : "" };
}

/** Others changed it each time we tried. */
export function contended(what: string): AppError {
  return AppError.exhausted("CONTENDED", `others changed ${what} each of ${maxSwaps} times`, 50);
}
