/** Repositories laid out from prepared checkouts in hands without an engine, with real git. */
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId, silentLogger, systemClock } from "@manyhands/kit";
import { expect, test } from "vitest";
import { agentBinary } from "../../testing/test-images.ts";
import { run, shell } from "../driver.contract.ts";
import { describeMounts } from "../mounts.contract.ts";
import { createBubblewrapDriver } from "./bubblewrap-driver.ts";

const stateDir = mkdtempSync(join(tmpdir(), "mh-"));
const open = async (dial?: Parameters<Parameters<typeof describeMounts>[1]>[0]) =>
  createBubblewrapDriver({
    stateDir,
    agentPath: await agentBinary(),
    instance: newId("manager"),
    platform: "plat_mounts",
    clock: systemClock,
    logger: silentLogger(),
    ...(dial ? { dial } : {}),
  });

describeMounts("bubblewrap", open, (driver, { mounted }) => {
  test("the objects are shared and cannot be changed, the making leaves no hand, and nobody learns the folder's name", async () => {
    const { hand, plan } = await mounted(["app"]);
    const { output } = await run(
      hand,
      shell(
        "cd /workspace/app; d=$(cat .git/objects/info/alternates); ls $d/pack | wc -l; touch $d/x 2>&1 | grep -c Read-only; git fsck 2>&1 | grep -ci error",
      ),
    );
    expect(output.toString()).toMatch(/^[1-9]\d*\n1\n0\n$/);
    expect((await driver().list()).map(({ handId }) => handId)).toContain(plan.handId);
    const [secret = ""] = readdirSync(join(stateDir, "checkouts"));
    expect(secret).toMatch(/^[0-9a-f]{32}$/);
    expect(readdirSync(join(stateDir, "checkouts", secret)).every((name) => /^[0-9a-f]{24}$/.test(name))).toBe(true);
    const [platform = ""] = readdirSync(join(stateDir, "hands"));
    const notes = readdirSync(join(stateDir, "hands", platform));
    const helpers = notes.filter((name) =>
      readFileSync(join(stateDir, "hands", platform, name, "hand.json"), "utf8").includes('"isHelper":true'),
    );
    expect(helpers).toEqual([]);
  });
});
