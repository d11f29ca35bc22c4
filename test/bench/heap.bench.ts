/** Memory of session-store over 1 000 000 appended events and over a watch of 1 000 000 events: rounds do not apply. */
import type { BenchReport } from "@manyhands/local";
import { heapRows } from "./support/heap-run.ts";

const events = 1_000_000;

/** Runs the benchmark. */
export default async function heap(): Promise<BenchReport> {
  const progress = (words: string) => void process.stderr.write(`${words}\n`);
  return { bench: "heap", rounds: 1, rows: await heapRows({ events, progress }) };
}
