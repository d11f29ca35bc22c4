import { AppError, type MethodHandler } from "@manyhands/kit";
import type { SandboxService } from "@manyhands/protocol";
import { admitAsker } from "../grants/admit.ts";
import { RIGHTS } from "../grants/grant.ts";
import type { Manager } from "../hands/manager.ts";
import { handToWire } from "./hand-codec.ts";

/** One hand, as its record says. A hand that was replaced is shown as lost. */
export function getHand(manager: Manager): MethodHandler<typeof SandboxService.method.getHand> {
  return async (request) => {
    if (request.handId === "") throw AppError.invalid([{ field: "hand_id", description: "is required" }]);
    await admitAsker(manager, request.handId, request, { rights: RIGHTS });
    const found = await manager.store.byId(request.handId);
    if (!found) throw AppError.notFound("hand", request.handId);
    const { record } = found;
    if (record.handId === request.handId) return { hand: handToWire(record) };
    const lostReason = `it was replaced by ${record.handId}`;
    return {
      hand: handToWire({
        ...record,
        handId: request.handId,
        state: "lost",
        lostReason,
        generation: Math.max(1, record.generation - 1),
      }),
    };
  };
}
