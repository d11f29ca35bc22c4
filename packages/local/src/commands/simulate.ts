import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { z } from "zod";
import { rootDir } from "../paths.ts";
import { stderrProgress } from "../progress.ts";
import { SetupError } from "../setup-error.ts";

const report = z.looseObject({ ok: z.boolean(), violations: z.array(z.string()) });

/** `npm run simulate`: the harness loop on simulated ports. Exit code 1 when an invariant is broken. */
export async function simulate(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: "string", default: "20000" },
      from: { type: "string", default: "1" },
      trace: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const seeds = wholeNumber("--seeds", values.seeds);
  const from = wholeNumber("--from", values.from);
  const module: unknown = await import(pathToFileURL(join(rootDir, "test", "simulation", "simulate.ts")).href);
  if (
    typeof module !== "object" ||
    module === null ||
    !("simulateMany" in module) ||
    typeof module.simulateMany !== "function"
  )
    throw new SetupError("test/simulation/simulate.ts is not whole", { advice: "This checkout is not complete." });
  const trace = values.trace ? stderrProgress : undefined;
  const result = report.parse(await module.simulateMany({ seeds, from, trace, progress: stderrProgress }));
  process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : `${JSON.stringify(result, null, 2)}\n`);
  return result.ok ? 0 : 1;
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  throw new SetupError(`${option} must be a whole number from 1`, { advice: "Correct it." });
}
