import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { z } from "zod";
import { ensureNatsServer } from "../nats-server.ts";
import { rootDir } from "../paths.ts";
import { stderrProgress } from "../progress.ts";
import { SetupError } from "../setup-error.ts";
import { onStopSignal } from "../stop-signal.ts";

const rigReport = z.looseObject({ rig: z.string(), ok: z.boolean(), rows: z.array(z.looseObject({})) });

const suffix = ".rig.ts";

/** Where rigs are, and how many faults each makes unless it is told. */
export type RigSet = { readonly folder: string; readonly defaultRuns: Readonly<Record<string, number>> };

/** `npm run durability`: rigs that break the processes and disks of the log. */
export function durability(args: readonly string[]): Promise<number> {
  return runRigs({ folder: "durability", defaultRuns: { storm: 100, vault: 100, cluster: 20, "power-cut": 50 } }, args);
}

/** Runs one rig of a set that breaks real processes or disks, or lists them. Exit code 1 when a bar is missed. */
export async function runRigs({ folder: name, defaultRuns }: RigSet, args: readonly string[]): Promise<number> {
  const folder = join(rootDir, "test", name);
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      runs: { type: "string" },
      seed: { type: "string", default: "1" },
    },
  });
  const rig = positionals[0];
  const names = rigNames(folder);
  if (rig === undefined) {
    process.stdout.write(`${names.join("\n")}\n`);
    return 0;
  }
  if (!names.includes(rig)) {
    throw new SetupError(`there is no rig "${rig}"`, { advice: `There are: ${names.join(", ") || "none"}.` });
  }
  const runs = wholeNumber("--runs", values.runs ?? String(defaultRuns[rig] ?? 1), 1);
  const seed = wholeNumber("--seed", values.seed, 0);
  const stopped = new AbortController();
  onStopSignal((signal) => {
    stderrProgress(`${signal}: cleaning up`);
    stopped.abort(new SetupError(`stopped by ${signal}`, { advice: "Nothing is left behind." }));
  });
  process.env.NATS_SERVER_BIN = (await ensureNatsServer(stderrProgress)).path;
  const module: unknown = await import(pathToFileURL(join(folder, `${rig}${suffix}`)).href);
  if (typeof module !== "object" || module === null || !("default" in module) || typeof module.default !== "function") {
    throw new SetupError(`${rig}${suffix} has no default export to run`, { advice: "It must be an async function." });
  }
  const result = await module.default({ runs, seed, signal: stopped.signal, progress: stderrProgress });
  const report = rigReport.parse(result);
  process.stdout.write(`${JSON.stringify(report, null, values.json ? 0 : 2)}\n`);
  return report.ok ? 0 : 1;
}

function wholeNumber(option: string, text: string, min: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min) return value;
  throw new SetupError(`${option} must be a whole number from ${min}`, { advice: "Correct it." });
}

function rigNames(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith(suffix))
    .map((file) => file.slice(0, -suffix.length))
    .sort();
}
