import { expect, test } from "vitest";
import { imagesToRemove, type PackageImage } from "./prune-images.ts";

const NOW = 1_800_000_000_000;
const DAY_MS = 24 * 3_600_000;
const image = (name: string, days: number, isInUse = false): PackageImage => ({
  name,
  lastUsedMs: NOW - days * DAY_MS,
  isInUse,
});
const going = (images: readonly PackageImage[]) => imagesToRemove(images, NOW).map(({ name }) => name);
const many = (count: number) => Array.from({ length: count }, (_, index) => image(`i${index}`, index % 20));

test("what nobody used for 30 days goes, unless something stands on it", () => {
  expect(going([image("old", 31), image("kept", 31, true), image("young", 29)])).toEqual(["old"]);
});

test("beyond 32 the longest unused go, and only as many as are too many", () => {
  expect(going(many(32))).toEqual([]);
  expect(going([...many(32), image("oldest", 25), image("newest", 1)])).toEqual(["oldest", "i19"]);
  expect(going([...many(32), image("oldest", 25, true), image("newest", 1)])).toEqual(["i19", "i18"]);
});

test("what was asked for a moment ago stays, however many there are", () => {
  expect(going(Array.from({ length: 50 }, (_, index) => image(`i${index}`, 0.05)))).toEqual([]);
});
