/** Rows of a report. */
import type { BenchReport } from "@manyhands/local";
import { median, percentile } from "./statistics.ts";

/** One row of a report. */
export type Row = BenchReport["rows"][number];

/** Milliseconds, smaller is better: medians, and our 95th percentile in the note. */
export function timeRow(name: string, ours: readonly number[], floor: readonly number[], note: string): Row {
  const [mine, theirs] = [median(ours), median(floor)];
  const spread = `p95 ${percentile(ours, 0.95).toFixed(2)} of ${ours.length}`;
  return { name, unit: "ms p50", ours: mine, floor: theirs, ratio: mine / theirs, note: `${spread}; ${note}` };
}

/** Something per second, larger is better: medians of rounds. */
export function rateRow(
  name: string,
  unit: string,
  ours: readonly number[],
  floor: readonly number[],
  note: string,
): Row {
  const [mine, theirs] = [median(ours), median(floor)];
  return { name, unit, ours: mine, floor: theirs, ratio: mine / theirs, note };
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
