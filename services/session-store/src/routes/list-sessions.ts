import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { MethodHandler } from "@manyhands/kit";
import type { ListSessionsRequest, SessionService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { sessionToWire, wireStatus } from "../log/header-wire.ts";
import { decodePageToken, encodePageToken, pageSize, queryHash } from "../page-token.ts";
import type { IndexedSession } from "../projections/session-index.ts";
import { checkWorkspace, rules } from "./request-rules.ts";

const defaultPageSize = 20;
const waitForIndexMs = 1000;

/** Sessions of a workspace from the index, which is given a moment to take in what this process stored last. */
export function listSessions(
  deps: Pick<Deps, "index" | "lastStored">,
): MethodHandler<typeof SessionService.method.listSessions> {
  return async (request) => {
    const rule = rules();
    checkWorkspace(rule, request.workspaceId, false);
    rule.check(request.agentVersion === 0 || request.agentId !== "", "agent_version", "needs agent_id");
    rule.done();
    const size = pageSize(request.pageSize, defaultPageSize);
    const query = queryHash({ ...request, pageSize: 0, pageToken: "" });
    const cursor = decodePageToken(query, request.pageToken);
    await deps.index.reached(deps.lastStored(), waitForIndexMs);

    const all = deps.index.ofWorkspace(request.workspaceId).filter((one) => wanted(request, one));
    if (!request.ascending) all.reverse();
    const [start, end] = window(all, request.ascending, size, cursor);
    const page = all.slice(start, end);
    return {
      sessions: page.map((one) => sessionToWire(one.sessionId, one.header)),
      nextPageToken: end < all.length ? tokenAt(query, "after", page.at(-1)) : "",
      previousPageToken: start > 0 ? tokenAt(query, "before", page[0] ?? all[start]) : "",
    };
  };
}

function wanted(request: ListSessionsRequest, { header }: IndexedSession): boolean {
  if (!request.includeArchived && header.archived_at !== undefined) return false;
  if (request.statuses.length > 0 && !request.statuses.includes(wireStatus[header.status])) return false;
  if (request.agentId !== "" && header.agent.id !== request.agentId) return false;
  if (request.agentVersion !== 0 && header.agent.version !== request.agentVersion) return false;
  if (request.createdFrom !== undefined && header.created_at < timestampMs(request.createdFrom)) return false;
  return request.createdBefore === undefined || header.created_at < timestampMs(request.createdBefore);
}

/** The page's bounds in the list: behind or before the session the token names, wherever that is now. */
function window(
  all: readonly IndexedSession[],
  ascending: boolean,
  size: number,
  cursor: readonly (string | number)[] | undefined,
): readonly [number, number] {
  if (cursor === undefined) return [0, Math.min(size, all.length)];
  const [direction, createdAt, sessionId] = cursor;
  const order = (one: IndexedSession) => {
    const difference =
      one.header.created_at - Number(createdAt) ||
      (one.sessionId < String(sessionId) ? -1 : one.sessionId === sessionId ? 0 : 1);
    return ascending ? difference : -difference;
  };
  if (direction === "before") {
    const at = all.findIndex((one) => order(one) >= 0);
    const end = at < 0 ? all.length : at;
    return [Math.max(0, end - size), end];
  }
  const at = all.findIndex((one) => order(one) > 0);
  const start = at < 0 ? all.length : at;
  return [start, Math.min(all.length, start + size)];
}

function tokenAt(query: string, direction: "after" | "before", one: IndexedSession | undefined): string {
  return one === undefined ? "" : encodePageToken(query, [direction, one.header.created_at, one.sessionId]);
}
