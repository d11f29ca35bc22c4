import fc from "fast-check";
import { expect, test } from "vitest";
import { idAt, idTimeMs, newId } from "./ids.ts";

test("ids sort by when they were made, also within a millisecond", () => {
  const ids = Array.from({ length: 10_000 }, () => newId("sevt"));
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids[0]).toMatch(/^sevt_[1-9A-HJ-NP-Za-km-z]{22}$/);
});

test("an id tells its millisecond", () => {
  const now = Date.now() + 1000;
  expect(idTimeMs(idAt("sesn", now))).toBe(now);
  expect(idTimeMs("sesn_short")).toBeUndefined();
  expect(idTimeMs("sesn_0000000000000000000000")).toBeUndefined();
});

test("a clock that steps back does not break the order", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 10_000 }), { maxLength: 50 }), (offsets) => {
      const base = Date.now() + 3_600_000;
      const ids = offsets.map((offset) => idAt("x", base + offset));
      expect([...ids].sort()).toEqual(ids);
    }),
  );
});
