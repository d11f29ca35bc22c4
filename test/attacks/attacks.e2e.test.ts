import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { runAttacks } from "./attacks.ts";

/** The whole list, and gVisor: `npm run attacks`. */
test("the fast selection of attacks is contained in every kind of hands that every machine can have", async () => {
  const script = new URL("../../services/sandbox-manager/agent/build.mjs", import.meta.url).pathname;
  const agent = process.env.MH_HAND_AGENT || execFileSync(process.execPath, [script], { encoding: "utf8" }).trim();
  const lines: string[] = [];
  const report = await runAttacks({
    agent,
    runtimes: ["runc", "bubblewrap", "virtual"],
    fast: true,
    progress: (text) => lines.push(text),
  });
  expect(report.absent).toEqual({});
  expect(report.rows.filter(({ outcome }) => outcome !== "contained")).toEqual([]);
  expect(report.total).toBeGreaterThan(40);
  expect(new Set(report.rows.map(({ runtime }) => runtime)).size).toBe(3);
});
