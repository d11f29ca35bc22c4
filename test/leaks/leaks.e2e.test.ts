import { expect, test } from "vitest";
import { runLeaks } from "./leaks.ts";

test("no credential is anywhere but in the vault, and the search is blind nowhere", async () => {
  const progress: string[] = [];
  const report = await runLeaks({ progress: (text) => void progress.push(text) });
  expect(report.rows.flatMap(({ where }) => where)).toEqual([]);
  expect(report.hits).toBe(0);
  expect(report.canaries).toBeGreaterThanOrEqual(8);
  expect(report.selftest_places_missed).toEqual([]);
  expect(report.places_swept).toBeGreaterThanOrEqual(19);
  for (const { place, bytes } of report.rows) expect(bytes, place).toBeGreaterThan(0);
}, 240_000);
