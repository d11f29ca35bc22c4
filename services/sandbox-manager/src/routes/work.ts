/** The queue of self-hosted work over gRPC. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Implemented, implement } from "@manyhands/kit";
import { type WorkItemSchema, WorkService, WorkUse } from "@manyhands/protocol";
import type { WorkQueue } from "../drivers/remote/work-queue.ts";
import { type WorkRecord, workIdOf } from "../drivers/remote/work-record.ts";
import { checkedId } from "./hand-codec.ts";

const MAX_ITEMS = 10_000;

/** The methods served; without a bus there is no queue, and all of them answer UNIMPLEMENTED. */
export function workRoutes(queue: WorkQueue | undefined): Implemented {
  if (!queue) return implement(WorkService, {});
  return implement(WorkService, {
    async offerWork({ workspaceId, environmentId, sessionId }) {
      checkedId("session_id", sessionId);
      return { item: toItem(await queue.offer({ workspaceId, environmentId, sessionId })) };
    },
    async pollWork({ environmentId, workerId, blockMs, reclaimOlderThanMs }, { signal }) {
      const asked = { workerId: workerId.slice(0, 128), blockMs, reclaimMs: reclaimOlderThanMs };
      const claim = await queue.poll(environmentId, asked, signal);
      return claim ? { item: toItem(claim.record), token: claim.token } : {};
    },
    ackWork: async ({ environmentId, workId }) => ({ item: toItem(await queue.acknowledge(environmentId, workId)) }),
    async heartbeatWork({ environmentId, workId, expectedLastHeartbeat: expected, desiredTtlSeconds, token }) {
      const asked = { expected, ttlMs: desiredTtlSeconds * 1000, token };
      const { record, ttlMs } = await queue.heartbeat(environmentId, workId, asked);
      return {
        lastHeartbeat: record.heartbeat,
        leaseExtended: record.state === "active",
        state: record.state,
        ttlSeconds: Math.ceil(ttlMs / 1000),
      };
    },
    async stopWork({ environmentId, workId, force, token }) {
      const record = await queue.stop(environmentId, workId, { force, token });
      return { item: toItem(record), offeredAgain: record.offeredAgain };
    },
    settleWork: async ({ workId }) => ({ item: toItem(await queue.settled(workId)) }),
    async authorizeWork({ token, use }) {
      const { record, leaseMs } = await queue.authorize(token, use === WorkUse.READ_EVENTS);
      return { item: toItem(record), leaseMs };
    },
    getWork: async ({ environmentId, workId }) => ({ item: toItem(await queue.item(environmentId, workId)) }),
    async listWork({ environmentId }) {
      const items = (await queue.list(environmentId)).slice(0, MAX_ITEMS).map(toItem);
      return { items, workersPolling: queue.workersPolling(environmentId) };
    },
    updateWork: async ({ environmentId, workId, metadata }) => ({
      item: toItem(await queue.setMetadata(environmentId, workId, metadata)),
    }),
  });
}

function toItem(record: WorkRecord): MessageInitShape<typeof WorkItemSchema> {
  const { workspaceId, environmentId, sessionId, state, unsettled } = record;
  const at = (name: string, ms: number | undefined) => (ms === undefined ? {} : { [name]: timestampFromMs(ms) });
  return {
    id: workIdOf(record),
    workspaceId,
    environmentId,
    sessionId,
    state,
    metadata: { ...record.metadata },
    createdAt: timestampFromMs(record.createdAtMs),
    ...at("acknowledgedAt", record.acknowledgedAtMs),
    ...at("startedAt", record.startedAtMs),
    ...at("latestHeartbeatAt", record.heartbeatAtMs),
    ...at("stopRequestedAt", record.stopRequestedAtMs),
    ...at("stoppedAt", record.stoppedAtMs),
    ...at("unsettledUntil", record.unsettledUntilMs),
    unsettled,
    claimed: record.state === "queued" && record.tokenHash !== "",
  };
}
