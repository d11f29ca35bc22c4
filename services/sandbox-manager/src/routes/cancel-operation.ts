import { AppError, forwardCall, type MethodHandler } from "@manyhands/kit";
import { Outcome, type SandboxService } from "@manyhands/protocol";
import type { OperationState } from "../drivers/driver.ts";
import { admitAsker } from "../grants/admit.ts";
import { tellOtherUse } from "../grants/tell-uses.ts";
import { checkOwnOperation } from "../grants/use-hand.ts";
import { admitBrain, findHand } from "../hands/find-hand.ts";
import type { Manager } from "../hands/manager.ts";
import { FORWARDED } from "../hands/peers.ts";
import { beginUse, endUse } from "../hands/use.ts";

/** Kills an operation and its process tree; what has ended stays as it ended. */
export function cancelOperation(manager: Manager): MethodHandler<typeof SandboxService.method.cancelOperation> {
  return async (request, context) => {
    const admission = await admitAsker(manager, request.handId, request, { rights: ["execute", "read"] });
    if (admission) checkOwnOperation(admission.grant, request.operationId, Number(request.epoch));
    const where = await findHand(manager, request.handId);
    if (where.kind === "gone") return { outcome: Outcome.UNKNOWN };
    if (where.kind === "elsewhere") {
      if (context.metadata[FORWARDED])
        throw AppError.unavailable("HAND_MOVED", "the hand moved while the call was passed on");
      const options = forwardCall(context);
      const answer = await manager.peers
        .client(where.address)
        .cancelOperation(request, { ...options, metadata: { ...options.metadata, [FORWARDED]: "1" } });
      return { outcome: answer.outcome };
    }
    if (!admission) await admitBrain(manager, where.held, request.epoch);
    await beginUse(manager, where.held);
    try {
      const state = await where.held.hand.cancel(request.operationId);
      // Told after it: an end must not wait for a log. Asked again, it ends nothing more and is told once.
      if (admission)
        await tellOtherUse(manager, where.held, admission.grant, { use: "cancel", operationId: request.operationId });
      return { outcome: outcomeOf(state) };
    } finally {
      endUse(manager, where.held);
    }
  };
}

function outcomeOf(state: OperationState | undefined): Outcome {
  if (!state) return Outcome.NOT_STARTED;
  if (state.phase === "unknown") return Outcome.UNKNOWN;
  return state.killedBy || state.phase !== "exited" ? Outcome.KILLED : Outcome.COMPLETED;
}
