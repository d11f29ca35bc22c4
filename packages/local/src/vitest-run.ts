import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { z } from "zod";
import { toolEnv } from "./checks.ts";
import { compiledDir, rootDir } from "./paths.ts";
import { readJsonIfThere } from "./private-file.ts";
import { addCounts, type Counts, noCounts } from "./test-counts.ts";

const PROJECT_MS = 20 * 60_000;
const KILL_AFTER_MS = 10_000;

const report = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().default(""),
      assertionResults: z.array(
        z.object({
          fullName: z.string(),
          status: z.string(),
          failureMessages: z.array(z.string()).nullable().default([]),
        }),
      ),
    }),
  ),
});

/** Runs a vitest project, and those whose name begins with its name, and counts its tests; a file that cannot be loaded counts as one failure. */
export async function runVitest(
  project: string,
  filters: readonly string[],
  extraEnv: NodeJS.ProcessEnv,
  outputFile: string,
): Promise<Counts> {
  rmSync(outputFile, { force: true });
  const temporary = mkdtempSync(join(tmpdir(), "mh-")); // short: Unix sockets lie in it, and their paths end at 107 bytes
  chmodSync(temporary, 0o711); // hands of other user numbers have their files in it
  const code = await runToEnd(
    [
      join(rootDir, "node_modules", "vitest", "vitest.mjs"),
      "run",
      ...["--project", `${project}*`, "--reporter=default", "--reporter=json", `--outputFile.json=${outputFile}`],
      ...filters,
    ],
    {
      ...toolEnv(),
      NODE_COMPILE_CACHE: compiledDir,
      TMPDIR: temporary,
      ...extraEnv,
      ...(process.stdout.isTTY ? {} : { NO_COLOR: "1" }),
    },
  );
  removeLeftovers(temporary);
  const counts = countTests(readJsonIfThere(outputFile), project);
  if (code === 0 || counts.failed > 0) return counts;
  const why = `vitest ended with ${code ?? "a time limit"} without naming a failed test`;
  return addCounts(counts, { ...noCounts, failed: 1, failures: [{ name: `project ${project}`, message: why }] });
}

/** What killed processes left behind: they cannot clean up after themselves. */
function removeLeftovers(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    console.warn(`${folder} is left behind: ${error instanceof Error ? error.message : error}`);
  }
}

/** Counts what vitest's JSON report says. */
export function countTests(json: unknown, project: string): Counts {
  const parsed = report.safeParse(json);
  if (!parsed.success) return noCounts;
  let counts = noCounts;
  for (const file of parsed.data.testResults) {
    const where = `${project} ${relative(rootDir, file.name)}`;
    for (const test of file.assertionResults) {
      const failures =
        test.status === "failed"
          ? [{ name: `${where}: ${test.fullName}`, message: (test.failureMessages ?? []).join("\n") }]
          : [];
      counts = addCounts(counts, {
        passed: test.status === "passed" ? 1 : 0,
        failed: failures.length,
        skipped: ["passed", "failed"].includes(test.status) ? 0 : 1,
        failures,
      });
    }
    const failedAsWhole = file.status === "failed" && !file.assertionResults.some(({ status }) => status === "failed");
    if (failedAsWhole)
      counts = addCounts(counts, { ...noCounts, failed: 1, failures: [{ name: where, message: file.message }] });
  }
  return counts;
}

/** The exit code, or null when the time limit ended it. Its output is ours. */
function runToEnd(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number | null> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...args], { cwd: rootDir, env, stdio: ["ignore", "inherit", "inherit"] });
    let isLate = false;
    const soft = setTimeout(() => {
      isLate = true; // vitest takes the signal and names an exit code all the same
      child.kill("SIGTERM");
    }, PROJECT_MS);
    const hard = setTimeout(() => child.kill("SIGKILL"), PROJECT_MS + KILL_AFTER_MS);
    child.once("error", () => resolve(127));
    child.once("close", (code) => {
      clearTimeout(soft);
      clearTimeout(hard);
      resolve(isLate ? null : code);
    });
  });
}
