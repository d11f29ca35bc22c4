/**
 * What a session was given. Files can be added and taken away; its hand has them from its next operation on. A
 * repository's token can be rotated, and a repository can be taken away: the right to reach it ends at once, files
 * that were cloned stay.
 */
import { createHash } from "node:crypto";
import { AppError, retry } from "@manyhands/kit";
import type { Session as StoredSession } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { toFileResource } from "../map/file.ts";
import { toJsonBytes } from "../map/json-bytes.ts";
import { sessionEnvironment, sessionResources } from "../map/session.ts";
import { checkGivenFiles } from "../mounted-files.ts";
import { resourceAdd, resourceUpdate } from "../schemas/session.ts";
import type { DeletedResource, FileResource, Page, SessionResource } from "../sdk-types.ts";
import { bindAgain } from "./bind-again.ts";
import { readSession } from "./sessions.ts";

type ResourceDeps = Pick<Deps, "sessions" | "files" | "vaults">;

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

  "sessions.resources.add": async (call: Call): Promise<FileResource> => {
    const input = check(resourceAdd, call.body, "body");
    const { requestId } = call.identity();
    const session = await readSession(deps, call);
    refuseArchived(session);
    refuseSelfHosted(session);
    const resource = toFileResource(input, resourceIdOf(session.id, requestId), new Date().toISOString());
    const there = sessionResources(session);
    const earlier = there.find((each) => "id" in each && each.id === resource.id);
    if (earlier?.type === "file") return earlier;
    const had = there.flatMap((each) =>
      each.type === "file" ? [{ fileId: each.file_id, path: each.mount_path }] : [],
    );
    const asked = { fileId: resource.file_id, path: resource.mount_path, field: "body" };
    await checkGivenFiles(deps, call, [...had, asked]);
    const { workspaceId } = call.caller;
    const request = { workspaceId, sessionId: session.id, addResourcesJson: toJsonBytes([resource]) };
    await deps.sessions.updateSession(request, call.rpc);
    return resource;
  },

  "sessions.resources.update": async (call: Call): Promise<SessionResource> => {
    const input = check(resourceUpdate, call.body, "body");
    const session = await readSession(deps, call);
    const resource = find(sessionResources(session), call.param("resource"));
    refuseArchived(session);
    if (resource.type !== "github_repository")
      throw AppError.invalid([{ field: "resource", description: "must be a github_repository: a file has no token" }]);
    await bindAgain(deps, call, session, (each) => (each === resource.id ? input.authorization_token : ""));
    return resource;
  },

  "sessions.resources.delete": async (call: Call): Promise<DeletedResource> => {
    const session = await readSession(deps, call);
    const resource = find(sessionResources(session), call.param("resource"));
    refuseArchived(session);
    const request = {
      workspaceId: call.caller.workspaceId,
      sessionId: session.id,
      removeResourceIds: [resource.id],
    };
    const { session: left } = await deps.sessions.updateSession(request, call.rpc);
    if (left === undefined) throw AppError.internal(new Error("session-store answered without a session"));
    if (resource.type === "file") return { id: resource.id, type: "session_resource_deleted" };
    // Whoever repeats this after a failure here finds no resource any more, so it must not be given up lightly.
    await retry(() => bindAgain(deps, call, left), { attempts: BIND_ATTEMPTS, signal: call.signal });
    return { id: resource.id, type: "session_resource_deleted" };
  },
});

const BIND_ATTEMPTS = 5;

/** A repeat of the same request adds the same resource. */
function resourceIdOf(sessionId: string, requestId: string): string {
  return `sesrsc_${createHash("sha256").update(`${sessionId}\n${requestId}`).digest("base64url").slice(0, 24)}`;
}

function refuseSelfHosted(session: StoredSession): void {
  if (sessionEnvironment(session).config.type !== "self_hosted") return;
  throw AppError.invalid([{ field: "type", description: "file: a self-hosted environment has no files mounted" }]);
}

function refuseArchived({ id, archivedAt }: StoredSession): void {
  if (archivedAt) throw AppError.conflict("SESSION_CLOSED", `session ${id} is archived`);
}

function offsetOf(page: string | undefined): number {
  if (page === undefined) return 0;
  if (!/^\d{1,6}$/.test(page))
    throw AppError.invalid([{ field: "page", description: "must come from an earlier answer" }]);
  return Number(page);
}

/** Memory stores have no id in the public shape and cannot be named. */
type NamedResource = Extract<SessionResource, { id: string }>;

function find(resources: readonly SessionResource[], id: string): NamedResource {
  const found = resources.find((resource): resource is NamedResource => "id" in resource && resource.id === id);
  if (found === undefined) throw AppError.notFound("resource", id);
  return found;
}
