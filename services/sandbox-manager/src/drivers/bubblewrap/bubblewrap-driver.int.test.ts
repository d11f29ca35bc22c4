import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId, silentLogger, systemClock } from "@manyhands/kit";
import { afterEach, expect, test } from "vitest";
import { describeMemories } from "../../mounts/memories.contract.ts";
import { describeMounts } from "../../mounts/mounts.contract.ts";
import { agentBinary } from "../../testing/test-images.ts";
import { collect, describeDriver, run, shell, spec, testPlan } from "../driver.contract.ts";
import type { Driver } from "../driver.ts";
import { createBubblewrapDriver } from "./bubblewrap-driver.ts";

async function open(stateDir = mkdtempSync(join(tmpdir(), "mh-")), platform = newId("plat")): Promise<Driver> {
  const agentPath = await agentBinary();
  const names = { instance: newId("manager"), platform };
  return createBubblewrapDriver({ stateDir, agentPath, ...names, clock: systemClock, logger: silentLogger() });
}

describeDriver("bubblewrap", { processes: true }, () => open());
describeMounts("bubblewrap", () => open());
describeMemories("bubblewrap", () => open());

const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0)) await one();
});

/** The folder of the only hand below. */
function onlyHand(stateDir: string): string {
  const [platform = ""] = readdirSync(join(stateDir, "hands"));
  const [hand = ""] = readdirSync(join(stateDir, "hands", platform));
  return join(stateDir, "hands", platform, hand);
}

test("another process's driver finds the hands of the one before it, their operations still running", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "mh-"));
  const platform = newId("plat");
  const before = await open(stateDir, platform);
  const plan = testPlan();
  const first = await before.provision(plan);
  undo.push(() => before.destroy(plan.handId));
  const id = newId("sevt");
  await first.start(spec(shell("for i in 1 2 3 4 5; do echo $i; sleep 0.1; done"), id));
  await first.detach();

  const after = await open(stateDir, platform);
  expect(after.place).toBe(before.place);
  expect(await after.list()).toMatchObject([{ handId: plan.handId, sessionId: plan.sessionId, running: true }]);
  const second = await after.adopt(plan.handId, 2);
  const parts = await second?.attach(id);
  if (!parts) throw new Error("the operation is unknown");
  expect((await collect(parts)).output.toString()).toBe("1\n2\n3\n4\n5\n");
  expect(await (await open(stateDir, newId("plat"))).list()).toEqual([]);
});

test("a hand ends with its keeper: lost in words, and nothing of it stays", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "mh-"));
  const driver = await open(stateDir);
  const plan = testPlan();
  const hand = await driver.provision(plan);
  const folder = onlyHand(stateDir);
  const { output } = await run(hand, shell("setsid sleep 6543210 & echo $!"));
  expect(output.toString()).toMatch(/^\d+\n$/);
  const { cgroups } = JSON.parse(readFileSync(join(folder, "hand.json"), "utf8"));
  process.kill(Number(readFileSync(join(folder, "keeper"), "utf8")), "SIGKILL");
  await expect.poll(() => hand.lost.aborted, { timeout: 5000 }).toBe(true);
  expect(hand.lost.reason).toMatchObject({ reason: "HAND_LOST", message: /^the hand's processes ended/ });
  expect(await driver.adopt(plan.handId, 2)).toBeUndefined();
  expect(await driver.list()).toMatchObject([{ running: false }]);
  await driver.destroy(plan.handId);
  for (const path of [folder, ...cgroups]) expect(existsSync(path), path).toBe(false);
});

test("what a tool takes too much of is refused or ended, and said to be out of memory where the kernel counts it", async () => {
  const driver = await open();
  const plan = testPlan();
  const hand = await driver.provision({ ...plan, limits: { ...plan.limits, memoryBytes: 96 * 1024 * 1024 } });
  undo.push(() => driver.destroy(plan.handId));
  const { state } = await run(hand, { kind: "exec", argv: ["python3", "-c", "len(b'x' * 300_000_000)"] });
  const isCounted = !driver.notIsolated.some((words) => words.startsWith("memory"));
  if (isCounted) expect(state.killedBy).toBe("out_of_memory");
  else expect(state.exitCode).toBe(1);
  expect((await run(hand, shell("echo alive"))).output.toString()).toBe("alive\n");
});

test("an image is refused by name; what is not isolated is said", async () => {
  const driver = await open();
  await expect(driver.provision(testPlan({ image: "debian" }))).rejects.toMatchObject({
    details: { fieldViolations: [{ field: "recipe.image" }] },
  });
  expect(driver.notIsolated.join("\n")).toMatch(/the kernel is shared[\s\S]*\/usr/);
});
