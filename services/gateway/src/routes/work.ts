/** environments.work.*: the public protocol by which self-hosted workers take sessions. The queue is sandbox-manager's. */
import { AppError, toAppError } from "@manyhands/kit";
import { SessionStatus, type WorkItem } from "@manyhands/protocol";
import { z } from "zod";
import type { Deps } from "../deps.ts";
import { settleWork } from "../events/settle-work.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { toWork, toWorkState } from "../map/work.ts";
import type { Page, Work, WorkHeartbeat, WorkStats } from "../sdk-types.ts";
import { readEnvironment } from "./environments.ts";

type WorkDeps = Pick<Deps, "work" | "sessions" | "environments">;

const MAX_BLOCK_MS = 999;
const MAX_METADATA = 16;
const stopBody = z.object({ force: z.boolean().nullish() });
const updateBody = z.object({
  metadata: z
    .record(z.string().min(1).max(64), z.string().max(512).nullable())
    .refine((given) => Object.keys(given).length <= MAX_METADATA, `at most ${MAX_METADATA} keys`),
});

/** Handlers of `environments.work.*`. */
export const workRoutes = (deps: WorkDeps) => ({
  "environments.work.poll": async (call: Call): Promise<Work | null> => {
    await checkWorkspace(deps, call);
    const query = readQuery(call.query, { block_ms: param.count(), reclaim_older_than_ms: param.count() });
    const { block_ms: blockMs = 0, reclaim_older_than_ms: reclaimOlderThanMs = 0 } = query;
    if (blockMs > MAX_BLOCK_MS) throw AppError.invalid([{ field: "block_ms", description: "must be from 1 to 999" }]);
    const workerId = call.header("anthropic-worker-id") ?? "";
    const asked = { environmentId: call.param("environment"), workerId, blockMs, reclaimOlderThanMs };
    const { item, token } = await deps.work.pollWork(asked, call.rpc);
    if (item === undefined) return null;
    // Before anybody is shown the session: what a worker that is gone may have run is answered first.
    if (item.unsettled) await settleWork(deps, call, item);
    const secret = Buffer.from(JSON.stringify({ sessions_token: token })).toString("base64url");
    return { ...toWork(item), secret };
  },

  "environments.work.ack": async (call: Call): Promise<Work> => {
    await checkWorkspace(deps, call);
    const { item } = await deps.work.ackWork(nameOf(call), call.rpc);
    return shown(item);
  },

  "environments.work.heartbeat": async (call: Call): Promise<WorkHeartbeat> => {
    await checkWorkspace(deps, call);
    const query = readQuery(call.query, { expected_last_heartbeat: param.text(), desired_ttl_seconds: param.count() });
    if (query.expected_last_heartbeat === undefined) {
      throw AppError.invalid([
        { field: "expected_last_heartbeat", description: "is required; the first is NO_HEARTBEAT" },
      ]);
    }
    const answer = await deps.work.heartbeatWork(
      {
        ...nameOf(call),
        expectedLastHeartbeat: query.expected_last_heartbeat,
        desiredTtlSeconds: Math.min(query.desired_ttl_seconds ?? 0, 3600),
        token: call.caller.work?.token ?? "",
      },
      call.rpc,
    );
    const { lastHeartbeat: last_heartbeat, leaseExtended: lease_extended, ttlSeconds: ttl_seconds } = answer;
    return { type: "work_heartbeat", last_heartbeat, lease_extended, state: toWorkState(answer.state), ttl_seconds };
  },

  "environments.work.stop": async (call: Call): Promise<Work> => {
    await checkWorkspace(deps, call);
    const { force } = check(stopBody, call.body ?? {}, "body");
    const { work } = call.caller;
    const asked = { ...nameOf(call), force: force === true, token: work?.token ?? "" };
    const head = work === undefined ? undefined : await headOf(deps, call);
    const { item, offeredAgain } = await deps.work.stopWork(asked, call.rpc);
    if (item !== undefined && work !== undefined) await goOn(deps, call, item, { offeredAgain, head });
    return shown(item);
  },

  "environments.work.retrieve": async (call: Call): Promise<Work> => {
    await checkWorkspace(deps, call);
    return shown((await deps.work.getWork(nameOf(call), call.rpc)).item);
  },

  "environments.work.update": async (call: Call): Promise<Work> => {
    await checkWorkspace(deps, call);
    const { metadata } = check(updateBody, call.body ?? {}, "body");
    const patch = Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, value ?? ""]));
    return shown((await deps.work.updateWork({ ...nameOf(call), metadata: patch }, call.rpc)).item);
  },

  "environments.work.list": async (call: Call): Promise<Page<Work>> => {
    await checkWorkspace(deps, call);
    const query = readQuery(call.query, { limit: param.limit(20), page: param.text() });
    const { items } = await deps.work.listWork({ environmentId: call.param("environment") }, call.rpc);
    const start = query.page === undefined ? 0 : items.findIndex(({ id }) => id === query.page) + 1;
    const data = items.slice(start, start + query.limit).map(toWork);
    return { data, next_page: start + query.limit < items.length ? (data.at(-1)?.id ?? null) : null };
  },

  "environments.work.stats": async (call: Call): Promise<WorkStats> => {
    await checkWorkspace(deps, call);
    const { items, workersPolling } = await deps.work.listWork({ environmentId: call.param("environment") }, call.rpc);
    const queued = items.filter(({ state }) => state === "queued").map(toWork);
    return {
      type: "work_queue_stats",
      depth: queued.length,
      pending: items.filter(({ state, claimed }) => state === "queued" && claimed).length,
      oldest_queued_at: queued[0]?.created_at ?? null,
      workers_polling: workersPolling,
    };
  },
});

/** The worker let go. What it left open is answered, and a session that still has something to do is offered again. */
async function goOn(
  deps: WorkDeps,
  call: Call,
  item: WorkItem,
  { offeredAgain, head }: { readonly offeredAgain: boolean; readonly head: number | undefined },
): Promise<void> {
  const { workspaceId, environmentId, sessionId } = item;
  const answered = item.unsettled ? await settleWork(deps, call, item, head) : 0;
  if (answered === 0) {
    if (!offeredAgain) return;
    const { session } = await deps.sessions.getSession({ workspaceId, sessionId }, call.rpc);
    if (session?.status !== SessionStatus.RUNNING) return;
  }
  await deps.work.offerWork({ workspaceId, environmentId, sessionId }, call.rpc);
}

/** Where the log of the item's session ends now; undefined when there is none any more. */
async function headOf(deps: WorkDeps, call: Call): Promise<number | undefined> {
  try {
    const { item } = await deps.work.getWork(nameOf(call), call.rpc);
    if (item === undefined) return undefined;
    const { workspaceId, sessionId } = item;
    const { session } = await deps.sessions.getSession({ workspaceId, sessionId }, call.rpc);
    return session && Number(session.headPosition);
  } catch (thrown) {
    if (toAppError(thrown).kind === "notFound") return undefined;
    throw thrown;
  }
}

/** For callers who are not bound to this environment by their key: it must be one of their workspace. */
async function checkWorkspace(deps: WorkDeps, call: Call): Promise<void> {
  const { work, environmentId } = call.caller;
  if (work === undefined && environmentId === undefined) await readEnvironment(deps, call, call.param("environment"));
}

function nameOf(call: Call) {
  return { environmentId: call.param("environment"), workId: call.param("w") };
}

function shown(item: WorkItem | undefined): Work {
  if (item === undefined) throw AppError.internal(new Error("the work queue answered without an item"));
  return toWork(item);
}
