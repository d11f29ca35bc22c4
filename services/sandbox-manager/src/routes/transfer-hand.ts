import { create } from "@bufbuild/protobuf";
import type { JsonObject } from "@manyhands/core";
import { AppError, type MethodHandler } from "@manyhands/kit";
import { RecipeSchema, type SandboxService, type TransferHandRequest, toPlain } from "@manyhands/protocol";
import { admitAsker } from "../grants/admit.ts";
import { sessionLogOf } from "../grants/pass-hands.ts";
import { endFormerGrants, isThere, moveHand, type Target, tellMoved } from "../grants/transfer.ts";
import { findHand } from "../hands/find-hand.ts";
import type { HandRecord } from "../hands/hand-record.ts";
import type { Manager } from "../hands/manager.ts";
import { onceForwarded } from "./grants.ts";
import { checkedId, handToWire } from "./hand-codec.ts";
import { recipeToWire } from "./recipe-codec.ts";

/** Moves a hand, by the manager that holds it. */
export function transferHand(manager: Manager): MethodHandler<typeof SandboxService.method.transferHand> {
  return async (request, context) => {
    const { handId } = request;
    if (handId === "") throw AppError.invalid([{ field: "hand_id", description: "is required" }]);
    const target = {
      sessionId: checkedId("to_session_id", request.toSessionId),
      name: checkedId("name", request.name || "default"),
    };
    sessionLogOf(manager);
    await admit(manager, request, target);
    const where = await findHand(manager, handId);
    if (where.kind === "gone") throw AppError.conflict("HAND_LOST", `hand ${handId} is gone: ${where.reason}`);
    if (where.kind === "elsewhere") {
      const { hand } = await manager.peers.client(where.address).transferHand(request, onceForwarded(context));
      return hand ? { hand } : {};
    }
    const { record } = await moveHand(manager, where.held, target);
    await endFormerGrants(manager, where.held, record);
    await tellMoved(manager, record, recipeOf(record));
    return { hand: handToWire(record) };
  };
}

/** Its own session, a holder of the right, or, when it is there already, whoever had it before and asks once more. */
async function admit(manager: Manager, request: TransferHandRequest, target: Target): Promise<void> {
  const record = (await manager.store.byId(request.handId))?.record;
  if (record && isThere(record, request.handId, target) && record.moved?.fromSessionId === request.sessionId) return;
  await admitAsker(manager, request.handId, request, { rights: ["transfer"] });
}

/** As `hand.provisioned` shows it: without the bytes of its files. The plain form of a message is JSON but for those. */
function recipeOf({ recipe }: HandRecord): JsonObject {
  return toPlain(RecipeSchema, create(RecipeSchema, { ...recipeToWire(recipe), files: [] })) as JsonObject;
}
