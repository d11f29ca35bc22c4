import { AppError, type MethodHandler } from "@manyhands/kit";
import type { SandboxService } from "@manyhands/protocol";
import type { Manager } from "../hands/manager.ts";

const MAX_IDS = 128;

/** Waits for snapshots that this manager is keeping. */
export function awaitSnapshots({
  snapshots,
}: Pick<Manager, "snapshots">): MethodHandler<typeof SandboxService.method.awaitSnapshots> {
  return async ({ operationIds }) => {
    if (operationIds.length > MAX_IDS) {
      throw AppError.invalid([{ field: "operation_ids", description: `must be at most ${MAX_IDS}` }]);
    }
    await snapshots?.awaitKept(operationIds);
    return {};
  };
}
