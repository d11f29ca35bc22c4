/** What every rig takes and answers. */

/** How a rig is run. */
export interface RigOptions {
  /** How many faults. */
  readonly runs: number;
  /** Decides targets and moments; the same seed asks for the same faults. */
  readonly seed: number;
  /** Stops the rig, which then cleans up and throws. */
  readonly signal: AbortSignal;
  /** One line about what happens now. */
  progress(text: string): void;
}

/** One form of a rig, with what it found. */
export interface RigRow {
  readonly name: string;
  /** Whether its bar is met. */
  readonly ok: boolean;
  readonly [figure: string]: string | number | boolean | readonly string[];
}

/** The JSON object a rig answers. */
export interface RigReport {
  readonly rig: string;
  readonly runs: number;
  readonly seed: number;
  readonly ok: boolean;
  readonly seconds: number;
  readonly rows: readonly RigRow[];
}

/** Runs forms one after the other and makes the report of them. */
export async function report(
  rig: string,
  options: RigOptions,
  forms: readonly (() => Promise<RigRow>)[],
): Promise<RigReport> {
  const startedMs = performance.now();
  const rows: RigRow[] = [];
  for (const form of forms) {
    options.signal.throwIfAborted();
    const row = await form();
    rows.push(row);
    options.progress(`${rig}: ${JSON.stringify(row)}`);
  }
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  return { rig, runs: options.runs, seed: options.seed, ok: rows.every((row) => row.ok), seconds, rows };
}

/** Numbers in [0, 1) that depend on nothing but the seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A whole number in [from, to]. */
export function between(random: () => number, from: number, to: number): number {
  return from + Math.floor(random() * (to - from + 1));
}

/** The value below which a share of the samples lies; 0 without samples. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0);
}
