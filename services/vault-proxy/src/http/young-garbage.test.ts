import { PerformanceObserver } from "node:perf_hooks";
import { setImmediate as turn } from "node:timers/promises";
import { eventually } from "@manyhands/testkit";
import { expect, it } from "vitest";
import { bytesPassed } from "./young-garbage.ts";

it("has young objects collected after some megabytes, and gives nobody else the means", async () => {
  const kinds: unknown[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if ("detail" in entry) kinds.push(entry.detail);
  });
  observer.observe({ entryTypes: ["gc"] });
  bytesPassed(9 * 1024 * 1024);
  await turn();
  await eventually(() => kinds.length > 0);
  observer.disconnect();
  expect(kinds).toContainEqual(expect.objectContaining({ kind: 1 }));
  expect("gc" in globalThis).toBe(false);
});
