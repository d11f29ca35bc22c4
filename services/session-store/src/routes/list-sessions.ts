import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { MethodHandler } from "@manyhands/kit";
import type { ListSessionsRequest, SessionService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { sessionToWire, wireStatus } from "../log/header-wire.ts";
import { decodePageToken, encodePageToken, pageSize, queryHash } from "../page-token.ts";
import { type Cursor, type ListedSession, pageOfSessions } from "../projections/session-list.ts";
import { checkWorkspace, rules } from "./request-rules.ts";

const defaultPageSize = 20;
const waitForIndexMs = 1000;

/** Sessions of a workspace from the index, which first takes in what was stored last, here or elsewhere. */
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
    await deps.index.readOn(deps.lastStored(), waitForIndexMs);

    const at = cursorOf(cursor);
    const { page, hasBefore, hasAfter } = pageOfSessions(deps.index.ofWorkspace(request.workspaceId), {
      ascending: request.ascending,
      size,
      wanted: (one) => wanted(request, one),
      ...(at === undefined ? {} : { cursor: at }),
    });
    return {
      sessions: page.map((one) => sessionToWire(one.sessionId, one.header)),
      nextPageToken: hasAfter ? tokenAt(query, "after", page.at(-1), at) : "",
      previousPageToken: hasBefore ? tokenAt(query, "before", page[0], at) : "",
    };
  };
}

function wanted(request: ListSessionsRequest, { header }: ListedSession): boolean {
  if (!request.includeArchived && header.archived_at !== undefined) return false;
  if (request.statuses.length > 0 && !request.statuses.includes(wireStatus[header.status])) return false;
  if (request.agentId !== "" && header.agent.id !== request.agentId) return false;
  if (request.agentVersion !== 0 && header.agent.version !== request.agentVersion) return false;
  const { memoryStoreId } = request;
  if (memoryStoreId !== "" && !header.resources.some((one) => one.memory_store_id === memoryStoreId)) return false;
  if (request.createdFrom !== undefined && header.created_at < timestampMs(request.createdFrom)) return false;
  return request.createdBefore === undefined || header.created_at < timestampMs(request.createdBefore);
}

function cursorOf(parts: readonly (string | number)[] | undefined): Cursor | undefined {
  if (parts === undefined) return undefined;
  const [direction, createdAt, sessionId] = parts;
  return {
    direction: direction === "before" ? "before" : "after",
    createdAt: Number(createdAt),
    sessionId: `${sessionId}`,
  };
}

/** At a session of the page; of an empty page, at the place the page was asked for. */
function tokenAt(
  query: string,
  direction: Cursor["direction"],
  one: ListedSession | undefined,
  at: Cursor | undefined,
) {
  const createdAt = one?.header.created_at ?? at?.createdAt ?? 0;
  return encodePageToken(query, [direction, createdAt, one?.sessionId ?? at?.sessionId ?? ""]);
}
