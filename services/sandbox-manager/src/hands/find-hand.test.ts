import { expect, test } from "vitest";
import { testPlan } from "../drivers/driver.contract.ts";
import type { Driver } from "../drivers/driver.ts";
import { createVirtualDriver } from "../drivers/virtual/virtual-driver.ts";
import { memoryManager } from "../testing/memory-manager.ts";
import { findHand } from "./find-hand.ts";
import { makeHand } from "./make-hand.ts";
import type { Manager } from "./manager.ts";
import { createMemoryHandStore } from "./memory-hand-store.ts";
import { createPeers, type Peers } from "./peers.ts";

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
  const handId = await handOf(memoryManager("dead", virtual, { store }));

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
  const manager = memoryManager("living", driver, { store, peers });
  first = findHand(manager, handId);
  const second = findHand(manager, handId);

  expect(await first).toMatchObject({ kind: "here" });
  expect(await second).toEqual(await first);
  expect([asked, adoptions]).toEqual([2, 1]);
  await virtual.close();
});
