import type { MethodHandler } from "@manyhands/kit";
import type { SandboxService } from "@manyhands/protocol";
import { ensureHand } from "../hands/ensure-hand.ts";
import type { Manager } from "../hands/manager.ts";
import { handToWire, wantedFrom } from "./hand-codec.ts";

/** Idempotent by session and name: one ready hand, however often and through whichever manager it is asked for. */
export function provision(manager: Manager): MethodHandler<typeof SandboxService.method.provision> {
  return async (request, context) => {
    const { record, reused } = await ensureHand(manager, wantedFrom(request, manager.limits), request, context);
    return { hand: handToWire(record), reused };
  };
}
