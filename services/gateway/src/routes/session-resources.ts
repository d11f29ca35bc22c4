/** What a session was given. Repositories stay for the session's life; only their token can be rotated. */
import { AppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { sessionAgent, sessionResources } from "../map/session.ts";
import { resourceUpdate } from "../schemas/session.ts";
import type { Page, SessionResource } from "../sdk-types.ts";
import { readSession } from "./sessions.ts";

type ResourceDeps = Pick<Deps, "sessions" | "vaults">;

/** Handlers of `sessions.resources.*`. */
export const sessionResourceRoutes = (deps: ResourceDeps) => ({
  "sessions.resources.list": async (call: Call): Promise<Page<SessionResource>> => {
    const query = readQuery(call.query, { limit: param.limit(1000), page: param.text() });
    const all = sessionResources(await readSession(deps, call));
    const from = offsetOf(query.page);
    const to = from + query.limit;
    return { data: all.slice(from, to), next_page: to < all.length ? String(to) : null };
  },

  "sessions.resources.retrieve": async (call: Call): Promise<SessionResource> =>
    find(sessionResources(await readSession(deps, call)), call.param("resource")),

  "sessions.resources.update": async (call: Call): Promise<SessionResource> => {
    const input = check(resourceUpdate, call.body, "body");
    const session = await readSession(deps, call);
    const resources = sessionResources(session);
    const resource = find(resources, call.param("resource"));
    if (session.archivedAt) {
      throw AppError.conflict("SESSION_CLOSED", `session ${session.id} is archived`);
    }
    await deps.vaults.bindSession(
      {
        workspaceId: call.caller.workspaceId,
        sessionId: session.id,
        vaultIds: session.vaultIds,
        // An empty token keeps the one that is stored.
        repositories: resources.flatMap((each) =>
          each.type === "github_repository"
            ? [
                {
                  url: each.url,
                  allowPush: true,
                  authorizationToken: each === resource ? input.authorization_token : "",
                },
              ]
            : [],
        ),
        mcpServerUrls: sessionAgent(session).mcp_servers.map(({ url }) => url),
      },
      call.rpc,
    );
    return resource;
  },
});

function offsetOf(page: string | undefined): number {
  if (page === undefined) return 0;
  if (!/^\d{1,6}$/.test(page))
    throw AppError.invalid([{ field: "page", description: "must come from an earlier answer" }]);
  return Number(page);
}

function find(resources: readonly SessionResource[], id: string): SessionResource {
  const found = resources.find((resource) => "id" in resource && resource.id === id);
  if (found === undefined) throw AppError.notFound("resource", id);
  return found;
}
