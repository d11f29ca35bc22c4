import { createHash } from "node:crypto";
import { AppError } from "@manyhands/kit";

/** Page sizes as the contract has them: 0 means 20, at most 1000. */
export const PAGE_SIZE = { default: 20, max: 1000 } as const;

/**
 * One page of ids that are sorted already, and the token of the next. A token binds its query: one made for another
 * list is refused.
 */
export function pageOf(
  ids: readonly string[],
  request: { readonly pageSize: number; readonly pageToken: string },
  query: readonly string[],
): { readonly ids: readonly string[]; readonly nextPageToken: string } {
  const { pageSize, pageToken } = request;
  if (pageSize > PAGE_SIZE.max) {
    throw AppError.invalid([{ field: "page_size", description: `must be 0 to ${PAGE_SIZE.max}` }]);
  }
  const size = pageSize === 0 ? PAGE_SIZE.default : pageSize;
  const bound = digestOf(query);
  const after = pageToken === "" ? undefined : readToken(pageToken, bound);
  // Ids are compared and not looked up: the one the token names may have been removed meanwhile.
  const rest = after === undefined ? ids : ids.filter((id) => id < after);
  const page = rest.slice(0, size);
  const last = page.at(-1);
  const more = last !== undefined && rest.length > page.length;
  return { ids: page, nextPageToken: more ? Buffer.from(`1.${bound}.${last}`, "utf8").toString("base64url") : "" };
}

function readToken(token: string, bound: string): string {
  const text = token.length <= 256 ? Buffer.from(token, "base64url").toString("utf8") : "";
  const match = /^1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{1,64})$/.exec(text);
  if (match?.[1] !== bound || match[2] === undefined) {
    throw AppError.invalid([{ field: "page_token", description: "must come from an answer to the same query" }]);
  }
  return match[2];
}

function digestOf(query: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(query)).digest("hex").slice(0, 16);
}
