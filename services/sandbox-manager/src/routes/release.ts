import { AppError, type MethodHandler } from "@manyhands/kit";
import type { ReleaseRequest, SandboxService } from "@manyhands/protocol";
import type { StoredHand } from "../hands/hand-record.ts";
import type { Manager } from "../hands/manager.ts";
import { releaseHand } from "../hands/take-hand.ts";
import { checkedId } from "./hand-codec.ts";

const REASONS = ["session_end", "session_deleted", "idle", "request", "unused"];

/**
 * Gives hands back. The record says so first; the container is removed at once where this manager can reach it, else
 * by the next sweep of a manager that can.
 */
export function release(manager: Manager): MethodHandler<typeof SandboxService.method.release> {
  return async (request) => {
    const reason = request.reason || "request";
    if (!REASONS.includes(reason))
      throw AppError.invalid([{ field: "reason", description: `must be one of ${REASONS.join(", ")}` }]);
    const released: string[] = [];
    for (const found of await named(manager, request)) {
      if (await releaseHand(manager, found, reason)) released.push(found.record.handId);
    }
    if (reason === "session_deleted" && request.sessionId !== "")
      await manager.snapshots?.store.forget(request.sessionId);
    return { handIds: released };
  };
}

async function named(manager: Manager, request: ReleaseRequest): Promise<readonly StoredHand[]> {
  if (request.handId !== "") {
    const found = await manager.store.byId(request.handId);
    if (!found) throw AppError.notFound("hand", request.handId);
    return found.record.handId === request.handId ? [found] : [];
  }
  if (request.sessionId === "")
    throw AppError.invalid([{ field: "hand_id", description: "one of hand_id and session_id is required" }]);
  return manager.store.list(checkedId("session_id", request.sessionId));
}
