import type { WorkItem } from "@manyhands/protocol";
import type { Work } from "../sdk-types.ts";
import { rfc3339, rfc3339OrNull } from "./json-bytes.ts";

const states = ["queued", "starting", "active", "stopping", "stopped"] as const;

/** The state's public word; what is not known here is over. */
export function toWorkState(state: string): Work["state"] {
  return states.find((known) => known === state) ?? "stopped";
}

/** A work item as the public API shows it; its secret goes out with a poll's answer alone. */
export function toWork(item: WorkItem): Work {
  return {
    id: item.id,
    type: "work",
    environment_id: item.environmentId,
    state: toWorkState(item.state),
    data: { type: "session", id: item.sessionId },
    secret: null,
    metadata: { ...item.metadata },
    created_at: rfc3339(item.createdAt),
    acknowledged_at: rfc3339OrNull(item.acknowledgedAt),
    started_at: rfc3339OrNull(item.startedAt),
    latest_heartbeat_at: rfc3339OrNull(item.latestHeartbeatAt),
    stop_requested_at: rfc3339OrNull(item.stopRequestedAt),
    stopped_at: rfc3339OrNull(item.stoppedAt),
  };
}
