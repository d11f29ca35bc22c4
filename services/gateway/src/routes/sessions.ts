import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { harnessSetting } from "@manyhands/core";
import { AppError, retry } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, type Query, readQuery } from "../http/query.ts";
import { toJsonBytes } from "../map/json-bytes.ts";
import { sessionAgent, statusByName, toSession } from "../map/session.ts";
import { configProblems, overridden } from "../schemas/agent.ts";
import { toServicePatch } from "../schemas/common.ts";
import { type SessionUpdate, sessionUpdate } from "../schemas/session.ts";
import type { DeletedSession, Session, TwoWayPage } from "../sdk-types.ts";
import { bindAgain } from "./bind-again.ts";

type SessionDeps = Pick<Deps, "sessions" | "vaults" | "sandboxes" | "harness">;

const BIND_ATTEMPTS = 5;
const statusNames = ["rescheduling", "running", "idle", "terminated"] as const;

/** Handlers of `sessions.*` but create, events and resources. */
export const sessionRoutes = (deps: SessionDeps) => ({
  "sessions.retrieve": async (call: Call): Promise<Session> => toSession(await readSession(deps, call)),

  "sessions.update": async (call: Call): Promise<Session> => {
    const input = check(sessionUpdate, call.body ?? {}, "body");
    const names = { workspaceId: call.caller.workspaceId, sessionId: call.param("session") };
    if (input.budget) await checkHasBudget(deps, call);
    const agentJson = input.agent && (await changedAgent(deps, call, input.agent));
    const kind = input.metadata?.[harnessSetting];
    // First, because it may refuse: a session then keeps both its harness and its metadata.
    if (kind !== undefined) await deps.harness.switchHarness({ ...names, kind: kind || "default" }, call.rpc);
    const request = {
      ...names,
      metadata: toServicePatch(input.metadata),
      ...(input.title === undefined ? {} : { title: input.title ?? "" }),
      ...(input.budget === undefined ? {} : { budgetJson: new TextEncoder().encode(JSON.stringify(input.budget)) }),
      ...(agentJson === undefined ? {} : { agentJson }),
    };
    const { session } = await deps.sessions.updateSession(request, call.rpc);
    // Until this is through its new servers refuse it, and those it has no more are not offered to the model.
    if (agentJson !== undefined && session !== undefined)
      await retry(() => bindAgain(deps, call, session), { attempts: BIND_ATTEMPTS, signal: call.signal });
    // A session that stopped at its budget goes on by itself when that is raised.
    if (input.budget !== undefined) await deps.harness.wake({ sessionId: names.sessionId }, call.rpc);
    return answer(session);
  },

  "sessions.list": async (call: Call): Promise<TwoWayPage<Session>> => {
    const query = readListQuery(call.query);
    // No session of this platform has one, so nothing can match.
    if (query.deployment_id !== undefined) return { data: [], next_page: null, prev_page: null };
    const page = await deps.sessions.listSessions(
      {
        workspaceId: call.caller.workspaceId,
        pageSize: query.limit,
        pageToken: query.page ?? "",
        statuses: query.statuses.map((name) => statusByName[name]),
        agentId: query.agent_id ?? "",
        agentVersion: query.agent_version ?? 0,
        includeArchived: query.include_archived,
        memoryStoreId: query.memory_store_id ?? "",
        ascending: query.order === "asc",
        ...createdRange(query),
      },
      call.rpc,
    );
    return {
      data: page.sessions.map(toSession),
      next_page: page.nextPageToken || null,
      prev_page: page.previousPageToken || null,
    };
  },

  "sessions.archive": async (call: Call): Promise<Session> => {
    const request = { workspaceId: call.caller.workspaceId, sessionId: call.param("session") };
    const { session } = await deps.sessions.archiveSession(request, call.rpc);
    await endRights(deps, call, request.sessionId, "session_end");
    return answer(session);
  },

  "sessions.delete": async (call: Call): Promise<DeletedSession> => {
    const sessionId = call.param("session");
    await deps.sessions.deleteSession({ workspaceId: call.caller.workspaceId, sessionId }, call.rpc);
    await endRights(deps, call, sessionId, "session_deleted");
    return { id: sessionId, type: "session_deleted" };
  },
});

/** The agent with what is given in the place of its own; nothing when that changes nothing. */
async function changedAgent(deps: SessionDeps, call: Call, input: SessionUpdate["agent"]) {
  const before = sessionAgent(await readSession(deps, call));
  const config = overridden({ ...before, metadata: {} }, input ?? {});
  const problems = configProblems(config);
  if (problems.length > 0) {
    throw AppError.invalid(problems.map(({ field, description }) => ({ field: `agent.${field}`, description })));
  }
  const { metadata: _notPartOfTheSnapshot, ...rest } = config;
  const after = { ...before, ...rest, multiagent: before.multiagent };
  return JSON.stringify(after) === JSON.stringify(before) ? undefined : toJsonBytes(after);
}

/** A budget can be changed, not added: what a session was made without stays without. */
async function checkHasBudget(deps: SessionDeps, call: Call): Promise<void> {
  if (toSession(await readSession(deps, call)).budget !== null) return;
  const description = "budget_create_only: a session that was made without a budget cannot get one";
  throw AppError.invalid([{ field: "budget", description }]);
}

/** The session of the path. */
export async function readSession(deps: Pick<Deps, "sessions">, call: Call) {
  const sessionId = call.param("session");
  const request = { workspaceId: call.caller.workspaceId, sessionId };
  const { session } = await deps.sessions.getSession(request, call.rpc);
  if (session === undefined) throw AppError.notFound("session", sessionId);
  return session;
}

/** Range parameters as a half-open range of milliseconds, which is what the log's clock counts in. */
export function createdRange(query: {
  readonly "created_at[gt]"?: number | undefined;
  readonly "created_at[gte]"?: number | undefined;
  readonly "created_at[lt]"?: number | undefined;
  readonly "created_at[lte]"?: number | undefined;
}) {
  const { "created_at[gt]": gt, "created_at[gte]": gte, "created_at[lt]": lt, "created_at[lte]": lte } = query;
  const from = [gte, gt === undefined ? undefined : gt + 1].filter((time) => time !== undefined);
  const before = [lt, lte === undefined ? undefined : lte + 1].filter((time) => time !== undefined);
  return {
    ...(from.length === 0 ? {} : { createdFrom: timestampFromMs(Math.max(...from)) }),
    ...(before.length === 0 ? {} : { createdBefore: timestampFromMs(Math.min(...before)) }),
  };
}

/** The four range parameters. */
export const createdRangeParams = {
  "created_at[gt]": param.time(),
  "created_at[gte]": param.time(),
  "created_at[lt]": param.time(),
  "created_at[lte]": param.time(),
};

function readListQuery(given: Query) {
  const query = readQuery(given, {
    limit: param.limit(20),
    page: param.text(),
    agent_id: param.text(),
    agent_version: param.count(),
    deployment_id: param.text(),
    memory_store_id: param.text(),
    statuses: param.someOf(statusNames, statusNames.length),
    include_archived: param.flag(),
    order: param.oneOf(["asc", "desc"]),
    ...createdRangeParams,
  });
  if (query.agent_version !== undefined && query.agent_id === undefined) {
    throw AppError.invalid([{ field: "agent_version", description: "must stand beside agent_id" }]);
  }
  return query;
}

/**
 * A session that has ended needs no hands and no rights. Both calls are safe to repeat and both services also find
 * ended sessions by themselves, so a failure here is logged and the answer stands.
 */
async function endRights(
  deps: SessionDeps,
  call: Call,
  sessionId: string,
  reason: "session_end" | "session_deleted",
): Promise<void> {
  const options = { metadata: call.rpc.metadata ?? {} };
  const ended = await Promise.allSettled([
    deps.sandboxes.release({ sessionId, reason }, options),
    deps.vaults.revokeSession({ sessionId }, options),
  ]);
  for (const end of ended) {
    if (end.status === "rejected")
      call.logger.warn({ err: end.reason, session: sessionId }, "an ended session keeps rights");
  }
}

function answer(session: Parameters<typeof toSession>[0] | undefined): Session {
  if (session === undefined) throw AppError.internal(new Error("session-store answered without a session"));
  return toSession(session);
}
