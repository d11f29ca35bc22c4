import { silentLogger, systemClock } from "@manyhands/kit";
import { expect, test } from "vitest";
import { defaultLimits } from "../config.ts";
import { testPlan } from "../drivers/driver.contract.ts";
import type { Driver } from "../drivers/driver.ts";
import { createVirtualDriver } from "../drivers/virtual/virtual-driver.ts";
import { createMemoryGrantStore } from "../grants/memory-grant-store.ts";
import { findHand } from "./find-hand.ts";
import type { HandStore } from "./hand-store.ts";
import { makeHand } from "./make-hand.ts";
import { createManager, type Manager } from "./manager.ts";
import { createMemoryManagerRegistry } from "./manager-registry.ts";
import { createMemoryHandStore } from "./memory-hand-store.ts";
import { createPeers, type Peers } from "./peers.ts";

function managerNamed(managerId: string, driver: Driver, store: HandStore, peers: Peers): Manager {
  const manager = createManager({
    managerId,
    drivers: new Map([["virtual", driver]]),
    defaultDriver: "virtual",
    store,
    grants: createMemoryGrantStore(),
    registry: createMemoryManagerRegistry(),
    labels: {},
    peers,
    limits: defaultLimits,
    clock: systemClock,
    logger: silentLogger(),
  });
  manager.listensOn("127.0.0.1:1");
  return manager;
}

async function handOf(manager: Manager): Promise<string> {
  const { sessionId, limits } = testPlan();
  const recipe = { ...limits, image: "", env: {}, repositories: [], files: [], driver: "" };
  const wanted = { sessionId, name: "default", recipe, brainEpoch: 0, speculative: false, filesAfter: [] };
  const made = await makeHand(manager, wanted, undefined);
  if (!made) throw new Error("no hand");
  return made.hand.handId;
}

test("a call that finds the dead manager's record late gets the hand that an earlier call adopted: it is adopted once", async () => {
  const store = createMemoryHandStore();
  const virtual = createVirtualDriver("place", () => Date.now());
  const handId = await handOf(managerNamed("dead", virtual, store, createPeers()));

  let adoptions = 0;
  const driver: Driver = {
    ...virtual,
    survivesManager: true,
    adopt(id, attachEpoch) {
      adoptions += 1;
      return virtual.adopt(id, attachEpoch);
    },
  };
  let asked = 0;
  let first: ReturnType<typeof findHand> | undefined;
  const peers: Peers = {
    ...createPeers(),
    async isAlive() {
      asked += 1;
      if (asked === 2) await first; // the second call hears only now that the manager is dead
      return false;
    },
  };
  const manager = managerNamed("living", driver, store, peers);
  first = findHand(manager, handId);
  const second = findHand(manager, handId);

  expect(await first).toMatchObject({ kind: "here" });
  expect(await second).toEqual(await first);
  expect([asked, adoptions]).toEqual([2, 1]);
  await virtual.close();
});
