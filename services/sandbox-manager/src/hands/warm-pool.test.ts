import { silentLogger } from "@manyhands/kit";
import { eventually } from "@manyhands/testkit";
import { expect, test } from "vitest";
import { createVirtualDriver } from "../drivers/virtual/virtual-driver.ts";
import type { Recipe } from "./hand-record.ts";
import { createWarmPool, type PoolLimits } from "./warm-pool.ts";

/** The pool over the virtual driver, with time that moves when it is told to. */
function poolWith(overrides: Partial<PoolLimits> = {}, room = () => true) {
  let now = 1_000_000;
  const clock = { nowMs: () => now, sleep: async () => undefined };
  const driver = createVirtualDriver("pool", clock.nowMs);
  const limits = { perRecipe: 1, recipes: 2, maxAgeMs: 60_000, pauseMs: 0, ...overrides };
  const pool = createWarmPool({ limits, driverOf: () => driver, hasRoom: room, clock, logger: silentLogger() });
  return {
    pool,
    hands: async () => (await driver.list()).length,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

function recipe(env: Record<string, string> = {}): Recipe {
  const limits = { memoryBytes: 1e8, cpuMillis: 1000, workspaceBytes: 1e7, pids: 10 };
  return { ...limits, image: "", env, repositories: [], files: [], driver: "" };
}

test("nothing is made before a recipe was used, and nothing at all when the pool has no size", async () => {
  const { pool, hands } = poolWith({ perRecipe: 0 });
  expect(await pool.claim(recipe())).toBeUndefined();
  pool.want(recipe());
  await pool.tend();
  expect([pool.size, await hands()]).toEqual([0, 0]);
});

test("a hand goes to the same recipe, whatever the order of its variables, and to no other", async () => {
  const { pool } = poolWith();
  pool.want(recipe({ A: "1", B: "2" }));
  await eventually(() => pool.ready === 1);
  expect(await pool.claim(recipe({ A: "1", B: "3" }))).toBeUndefined();
  const warm = await pool.claim(recipe({ B: "2", A: "1" }));
  expect(warm).toBeDefined();
  expect(await pool.claim(recipe({ A: "1", B: "2" }))).toBeUndefined();
});

test("of many that claim at once, each hand goes to one", async () => {
  const { pool } = poolWith({ perRecipe: 3 });
  pool.want(recipe());
  await eventually(() => pool.ready === 3);
  const claimed = await Promise.all(Array.from({ length: 8 }, () => pool.claim(recipe())));
  const ids = claimed.flatMap((warm) => (warm ? [warm.hand.handId] : []));
  expect(ids).toHaveLength(3);
  expect(new Set(ids).size).toBe(3);
});

test("what is too old is ended, made anew while the recipe is in use, and not made again after", async () => {
  const { pool, hands, pass } = poolWith();
  pool.want(recipe());
  await eventually(() => pool.ready === 1);
  pass(59_000);
  pool.want(recipe());
  pass(2_000);
  expect(await pool.claim(recipe())).toBeUndefined(); // past its age: not handed out
  await pool.tend();
  await eventually(() => pool.ready === 1);
  pass(61_000);
  await pool.tend();
  await eventually(async () => (await hands()) === 0);
  expect(pool.size).toBe(0);
});

test("the recipe unused for longest gives way, and so does any warm hand where a session needs its place", async () => {
  let room = true;
  const { pool, hands } = poolWith({ recipes: 2 }, () => room);
  for (const name of ["a", "b", "c"]) {
    pool.want(recipe({ name }));
    await eventually(() => pool.ready >= 1);
  }
  await eventually(async () => pool.ready === 2 && (await hands()) === 2);
  expect(await pool.claim(recipe({ name: "a" }))).toBeUndefined();
  room = false;
  expect(await pool.makeRoom()).toBe(true);
  await pool.tend();
  expect([pool.ready, await hands()]).toEqual([1, 1]);
  await pool.close();
  expect(await hands()).toBe(0);
});

test("a hand that is lost while it waits is never handed out", async () => {
  const { pool } = poolWith();
  pool.want(recipe());
  await eventually(() => pool.ready === 1);
  const warm = await pool.claim(recipe());
  if (!warm) throw new Error("no warm hand");
  expect(pool.owns(warm.hand.handId)).toBe(true); // until its record is written
  pool.settled(warm.hand.handId);
  expect(pool.owns(warm.hand.handId)).toBe(false);
  expect(pool.put(recipe(), warm)).toBe(true);
  await warm.driver.destroy(warm.hand.handId);
  await eventually(() => !pool.owns(warm.hand.handId));
});
