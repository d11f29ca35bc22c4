/** Runs seeds, counts what they visited, and says how to replay one that broke an invariant. */
import { World } from "./world.ts";

/** How many seeds, and which. */
export interface SimulateOptions {
  readonly seeds: number;
  readonly from: number;
  readonly trace?: ((line: string) => void) | undefined;
  readonly progress?: (text: string) => void;
}

/** What they came to. */
export interface SimulationReport {
  readonly ok: boolean;
  readonly seeds: number;
  readonly from: number;
  readonly steps: number;
  readonly events: number;
  readonly seconds: number;
  readonly violations: readonly string[];
  /** How often each crash point and each place of a crash was visited. */
  readonly visits: Readonly<Record<string, number>>;
}

const maxViolations = 5;
const progressEvery = 5_000;

/** Runs seeds one after the other; stops after a few violations. */
export async function simulateMany(options: SimulateOptions): Promise<SimulationReport> {
  const { startBrain } = await import("./loop-under-test.ts");
  if (options.trace === undefined) Error.stackTraceLimit = 0; // faults are errors, and there are very many
  const startedMs = performance.now();
  const violations: string[] = [];
  const visits = new Map<string, number>();
  let steps = 0;
  let events = 0;
  let seeds = 0;
  for (let seed = options.from; seed < options.from + options.seeds && violations.length < maxViolations; seed += 1) {
    const run = await new World(seed, startBrain, options.trace).run();
    seeds += 1;
    steps += run.steps;
    events += run.events;
    for (const [name, count] of run.visits) visits.set(name, (visits.get(name) ?? 0) + count);
    const [first] = run.violations;
    if (first !== undefined)
      violations.push(`seed ${seed}: ${first}; replay: npm run simulate -- --from ${seed} --seeds 1 --trace`);
    if (seeds % progressEvery === 0) options.progress?.(`simulation: ${seeds} seeds`);
  }
  const seconds = Math.round(performance.now() - startedMs) / 1000;
  const sorted = Object.fromEntries(
    [...visits].sort(([one], [other]) => one.localeCompare(other, "en", { numeric: true })),
  );
  return {
    ok: violations.length === 0,
    seeds,
    from: options.from,
    steps,
    events,
    seconds,
    violations,
    visits: sorted,
  };
}

/** The first seed that breaks an invariant, and which; nothing when none of so many does. */
export async function firstViolation(maxSeeds: number): Promise<{ seed?: number; violation?: string }> {
  const { startBrain } = await import("./loop-under-test.ts");
  Error.stackTraceLimit = 0;
  for (let seed = 1; seed <= maxSeeds; seed += 1) {
    const { violations } = await new World(seed, startBrain).run();
    const [violation] = violations;
    if (violation !== undefined) return { seed, violation };
  }
  return {};
}
