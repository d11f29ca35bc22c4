import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { z } from "zod";
import { ensureNatsServer } from "../nats-server.ts";
import { rootDir } from "../paths.ts";
import { stderrProgress } from "../progress.ts";
import { stopPlatformsOnSignal } from "../running-platforms.ts";
import { SetupError } from "../setup-error.ts";

/** What every benchmark answers: ours against a floor measured on the same machine in the same run. */
export const benchReport = z.object({
  bench: z.string(),
  rounds: z.number().int().positive(),
  rows: z.array(
    z.object({
      name: z.string(),
      unit: z.string(),
      ours: z.number(),
      floor: z.number(),
      ratio: z.number(),
      note: z.string().default(""),
    }),
  ),
});
/** The report of one benchmark. */
export type BenchReport = z.infer<typeof benchReport>;

/** A report that is not about time: one JSON object with rows. */
const ownReport = z.looseObject({ rows: z.array(z.looseObject({})) });

const DEFAULT_ROUNDS = 3;
const folder = join(rootDir, "test", "bench");
const suffix = ".bench.ts";

/** `npm run bench`: runs one benchmark, or lists them. Only the result goes to standard output. */
export async function bench(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { json: { type: "boolean", default: false }, rounds: { type: "string", default: String(DEFAULT_ROUNDS) } },
  });
  const names = benchNames();
  const name = positionals[0];
  if (name === undefined) {
    process.stdout.write(`${names.length === 0 ? "there are no benchmarks" : names.join("\n")}\n`);
    return 0;
  }
  if (!names.includes(name)) {
    throw new SetupError(`there is no benchmark "${name}"`, { advice: `There are: ${names.join(", ") || "none"}.` });
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new SetupError("--rounds must be a whole number from 1", { advice: "Correct it." });
  stopPlatformsOnSignal();
  const nats = await ensureNatsServer(stderrProgress);
  process.env.NATS_SERVER_BIN = nats.path;
  const result = await runBench(name, { rounds, json: values.json });
  const report = benchReport.safeParse(result);
  // What is counted instead of timed (conformance, attacks …) has an object of its own and no table.
  const counted = values.json || !report.success;
  process.stdout.write(
    counted ? `${JSON.stringify(report.data ?? ownReport.parse(result))}\n` : benchTable(report.data),
  );
  return 0;
}

/** The report as people read it. */
export function benchTable({ bench: name, rounds, rows }: BenchReport): string {
  const cells = [
    ["name", "unit", "ours", "floor", "ratio", "note"],
    ...rows.map((row) => [
      row.name,
      row.unit,
      row.ours.toFixed(3),
      row.floor.toFixed(3),
      `${row.ratio.toFixed(2)}x`,
      row.note,
    ]),
  ];
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return `${name}, ${rounds} rounds\n${lines.join("\n")}\n`;
}

function benchNames(): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith(suffix))
    .map((file) => file.slice(0, -suffix.length))
    .sort();
}

async function runBench(name: string, options: { rounds: number; json: boolean }): Promise<unknown> {
  const module: unknown = await import(pathToFileURL(join(folder, `${name}${suffix}`)).href);
  if (typeof module !== "object" || module === null || !("default" in module) || typeof module.default !== "function") {
    throw new SetupError(`${name}${suffix} has no default export to run`, { advice: "It must be an async function." });
  }
  return module.default(options);
}
