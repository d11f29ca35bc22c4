import type { MethodHandler } from "@manyhands/kit";
import type { SandboxService } from "@manyhands/protocol";
import type { ChosenDrivers } from "../drivers/choose-driver.ts";
import type { Manager } from "../hands/manager.ts";

/** What this manager can do and why its default was chosen. */
export function describeDrivers(
  manager: Manager,
  chosen: ChosenDrivers,
): MethodHandler<typeof SandboxService.method.describeDrivers> {
  return async () => ({
    managerId: manager.managerId,
    defaultDriver: chosen.defaultDriver,
    reason: chosen.reason,
    drivers: chosen.reports.map(({ name, available, unavailableReason, notIsolated }) => ({
      name,
      available,
      unavailableReason,
      notIsolated: [...notIsolated],
    })),
    hands: manager.held.size,
    capacity: manager.limits.capacity,
    labels: manager.labels,
    warmHands: manager.pool.ready,
  });
}
