import { AppError, type FieldViolation, type MethodHandler } from "@manyhands/kit";
import type { AttachRequest, SandboxService } from "@manyhands/protocol";
import { admitAsker, isFormerOperation } from "../grants/admit.ts";
import { checkFollower, followUnderGrant } from "../grants/use-hand.ts";
import { admitBrain } from "../hands/find-hand.ts";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { type Follow, followOperation, type Item } from "../hands/run-operation.ts";
import { parseInput } from "./execute.ts";
import { followWherever } from "./pass-on.ts";

/** Follows an operation from an offset; never starts one. */
export function attach(manager: Manager): MethodHandler<typeof SandboxService.method.attach> {
  return async function* (request, context) {
    check(request);
    const isFormer = await isFormerOperation(manager, request.handId, request, request.operationId);
    const admission = isFormer
      ? undefined
      : await admitAsker(manager, request.handId, request, { rights: ["attach", "execute"] });
    if (admission) checkFollower(admission.grant, request.operationId, Number(request.epoch));
    yield* followWherever(manager, context, {
      handId: request.handId,
      operationId: request.operationId,
      here: (held) =>
        admission
          ? followUnderGrant(manager, held, followed(request, context.signal), admission)
          : isFormer // its epochs are not those of the hand's present session
            ? followOperation(manager, held, followed(request, context.signal))
            : admitted(manager, held, request, context.signal),
      there: (address, options) => manager.peers.client(address).attach(request, options),
    });
  };
}

async function* admitted(
  manager: Manager,
  held: HeldHand,
  request: AttachRequest,
  signal: AbortSignal,
): AsyncGenerator<Item> {
  await admitBrain(manager, held, request.epoch);
  yield* followOperation(manager, held, followed(request, signal));
}

function followed(request: AttachRequest, signal: AbortSignal): Follow {
  return {
    operationId: request.operationId,
    fromOffset: Number(request.fromOffset),
    name: request.name,
    input: parseInput(request.inputJson),
    signal,
  };
}

function check(request: AttachRequest): void {
  const problems: FieldViolation[] = [];
  if (request.handId === "") problems.push({ field: "hand_id", description: "is required" });
  if (request.operationId === "") problems.push({ field: "operation_id", description: "is required" });
  if (problems.length > 0) throw AppError.invalid(problems);
}
