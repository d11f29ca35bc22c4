import { AppError, type MethodHandler, type RpcContext, toAppError } from "@manyhands/kit";
import type { ReleaseRequest, SandboxService } from "@manyhands/protocol";
import { findHand } from "../hands/find-hand.ts";
import type { StoredHand } from "../hands/hand-record.ts";
import type { Manager } from "../hands/manager.ts";
import { FORWARDED, isPeerGone } from "../hands/peers.ts";
import { releaseHand } from "../hands/take-hand.ts";
import { onceForwarded } from "./grants.ts";
import { checkedId } from "./hand-codec.ts";

const REASONS = ["session_end", "session_deleted", "idle", "request", "unused"];

/**
 * Gives hands back, each by the manager that holds it: what its files have that is not kept yet is kept first. The record
 * says so first; where its manager is gone the container is removed by this one if it can reach it, else by a sweep.
 */
export function release(manager: Manager): MethodHandler<typeof SandboxService.method.release> {
  return async (request, context) => {
    const reason = request.reason || "request";
    if (!REASONS.includes(reason))
      throw AppError.invalid([{ field: "reason", description: `must be one of ${REASONS.join(", ")}` }]);
    const released: string[] = [];
    for (const found of await named(manager, request)) {
      if (await releaseByHolder(manager, found, reason, context)) released.push(found.record.handId);
    }
    if (reason === "session_deleted" && request.sessionId !== "")
      await manager.snapshots?.store.forget(request.sessionId);
    return { handIds: released };
  };
}

async function releaseByHolder(
  manager: Manager,
  found: StoredHand,
  reason: string,
  context: RpcContext,
): Promise<boolean> {
  const { record } = found;
  const { handId, managerId, managerAddress } = record;
  if (record.state !== "ready" || managerId === manager.managerId || context.metadata[FORWARDED])
    return releaseHand(manager, found, reason);
  try {
    if (await manager.peers.isAlive(managerAddress, managerId)) {
      const peer = manager.peers.client(managerAddress);
      return (await peer.release({ handId, reason }, onceForwarded(context))).handIds.includes(handId);
    }
    // Nobody holds it: this manager does, for as long as it takes to keep what tools wrote into its memories.
    if (record.recipe.mountedMemories?.some(({ writable }) => writable)) await findHand(manager, handId);
  } catch (error) {
    if (!isPeerGone(error) || context.signal.aborted) throw error;
    manager.logger.warn({ err: toAppError(error), hand: handId }, "a hand is given back without its manager");
  }
  return releaseHand(manager, found, reason);
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
