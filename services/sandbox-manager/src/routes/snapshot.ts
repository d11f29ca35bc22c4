import { AppError, forwardCall, type MethodHandler } from "@manyhands/kit";
import type { SandboxService } from "@manyhands/protocol";
import { findHand } from "../hands/find-hand.ts";
import type { Manager } from "../hands/manager.ts";
import { FORWARDED } from "../hands/peers.ts";
import { beginUse, endUse } from "../hands/use.ts";

/** Keeps a hand's files as of now, whoever holds it. */
export function snapshot(manager: Manager): MethodHandler<typeof SandboxService.method.snapshot> {
  return async (request, context) => {
    if (request.handId === "") throw AppError.invalid([{ field: "hand_id", description: "is required" }]);
    const where = await findHand(manager, request.handId);
    if (where.kind === "gone") throw AppError.conflict("HAND_LOST", `hand ${request.handId} is gone: ${where.reason}`);
    if (where.kind === "elsewhere") {
      if (context.metadata[FORWARDED])
        throw AppError.unavailable("HAND_MOVED", "the hand moved while the call was passed on");
      const options = forwardCall(context);
      const { snapshotId } = await manager.peers
        .client(where.address)
        .snapshot(request, { ...options, metadata: { ...options.metadata, [FORWARDED]: "1" } });
      return { snapshotId };
    }
    if (!manager.snapshots) throw AppError.conflict("NO_SNAPSHOTS", "this manager keeps no files (MH_SNAPSHOTS)");
    await beginUse(manager, where.held);
    try {
      return { snapshotId: await manager.snapshots.now(request.handId, Number(request.position)) };
    } finally {
      endUse(manager, where.held);
    }
  };
}
