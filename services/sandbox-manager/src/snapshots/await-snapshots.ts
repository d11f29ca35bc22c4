import { toAppError, withDeadline } from "@manyhands/kit";
import { otherManagers } from "../hands/choose-manager.ts";
import type { Manager } from "../hands/manager.ts";

const WAIT_MS = 30_000;

type Waiting = Pick<Manager, "snapshots" | "registry" | "peers" | "clock" | "logger" | "entry">;

/**
 * Resolves when no manager is keeping the files after any of these operations: a fork may be made sooner than the
 * snapshot it shares. A manager that does not answer is not waited for; what it had not kept is lost with it.
 */
export async function awaitSnapshots(manager: Waiting, operationIds: readonly string[]): Promise<void> {
  const { snapshots, registry, peers, clock, logger } = manager;
  const others = otherManagers(manager.entry(), await registry.list(), clock.nowMs());
  const here = withDeadline(WAIT_MS, "snapshots", async () => snapshots?.awaitKept(operationIds));
  const there = others.map(async ({ address }) => {
    await peers.client(address).awaitSnapshots({ operationIds: [...operationIds] }, { deadlineMs: WAIT_MS });
  });
  for (const done of await Promise.allSettled([here, ...there])) {
    if (done.status === "rejected") logger.warn({ err: toAppError(done.reason) }, "a snapshot was not waited for");
  }
}
