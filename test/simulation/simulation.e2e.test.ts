import { spawn } from "node:child_process";
import path from "node:path";
import { text } from "node:stream/consumers";
import { endWithUs } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { root } from "../tidy/sources.ts";
import { crashPoints } from "./crash-points.ts";
import { mutants } from "./mutants.ts";

const seeds = 20_000;
const processes = 2;

const report = z.object({
  seeds: z.number(),
  violations: z.array(z.string()),
  visits: z.record(z.string(), z.number()),
});
const caught = z.object({ number: z.number(), name: z.string(), violation: z.string().default("") });

/** Runs a script of ours on its own: simulated time needs a process to itself, and type stripping is enough for it. */
async function run(script: string, ...args: string[]): Promise<string> {
  const child = spawn(process.execPath, ["--conditions=source", path.join(root, script), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  endWithUs(child);
  return await text(child.stdout);
}

describe("the harness loop under simulated faults", () => {
  it("breaks no invariant in 20 000 seeds, and visits every crash point of the table", async () => {
    const share = seeds / processes;
    const outputs = await Promise.all(
      Array.from({ length: processes }, (_, at) => {
        const from = String(at * share + 1);
        return run("packages/local/src/cli.ts", "simulate", "--seeds", String(share), "--from", from, "--json");
      }),
    );
    const reports = outputs.map((output) => report.parse(JSON.parse(output)));
    expect(reports.flatMap((one) => one.violations)).toEqual([]);
    expect(reports.reduce((sum, one) => sum + one.seeds, 0)).toBe(seeds);
    const visits = (name: string) => reports.reduce((sum, one) => sum + (one.visits[name] ?? 0), 0);
    const simulated = crashPoints.filter((point) => point.core === "simulated").map((point) => point.id);
    expect(simulated.length).toBeGreaterThan(20);
    expect(simulated.filter((id) => visits(id) === 0)).toEqual([]);
  });

  it("shows every fault that is put into the code", async () => {
    expect(mutants.length).toBeGreaterThanOrEqual(25);
    const outputs = await Promise.all(
      Array.from({ length: processes }, (_, at) =>
        run("test/simulation/run-mutants.ts", String(at), String(processes)),
      ),
    );
    const found = outputs
      .flatMap((output) => output.split("\n").filter(Boolean))
      .map((line) => caught.parse(JSON.parse(line)));
    expect(found.filter((one) => one.violation === "").map((one) => one.name)).toEqual([]);
    expect(found).toHaveLength(mutants.length);
  });
});
