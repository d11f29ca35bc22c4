import { expect, it } from "vitest";
import { heapRows } from "../bench/support/heap-run.ts";

it("memory does not grow with what is appended to a session, nor with what a watch is sent", async () => {
  const rows = await heapRows({ events: 40_000, progress: () => undefined });
  expect(rows.map((row) => row.name)).toEqual(["heap_append", "heap_watch"]);
  // A short run still warms up; one that kept the bytes of its events alone would be beyond this.
  for (const row of rows) expect(row.ratio, row.note).toBeLessThan(1.25);
});
