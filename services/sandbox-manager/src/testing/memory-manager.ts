import { silentLogger, systemClock } from "@manyhands/kit";
import { defaultLimits } from "../config.ts";
import type { Driver } from "../drivers/driver.ts";
import { createMemoryGrantStore } from "../grants/memory-grant-store.ts";
import { createManager, type Manager, type ManagerOptions } from "../hands/manager.ts";
import { createMemoryManagerRegistry } from "../hands/manager-registry.ts";
import { createMemoryHandStore } from "../hands/memory-hand-store.ts";
import { createPeers } from "../hands/peers.ts";

/** A manager of one driver's hands that keeps its records in memory; `shared` is what several of them have in common. */
export function memoryManager(
  managerId: string,
  driver: Driver,
  shared: Partial<Pick<ManagerOptions, "store" | "peers">> = {},
): Manager {
  const manager = createManager({
    managerId,
    drivers: new Map([[driver.name, driver]]),
    defaultDriver: driver.name,
    store: createMemoryHandStore(),
    grants: createMemoryGrantStore(),
    registry: createMemoryManagerRegistry(),
    labels: {},
    peers: createPeers(),
    limits: defaultLimits,
    clock: systemClock,
    logger: silentLogger(),
    ...shared,
  });
  manager.listensOn("127.0.0.1:1");
  return manager;
}
