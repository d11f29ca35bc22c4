import fc from "fast-check";
import { expect, test } from "vitest";
import { idSource, idTimeMs, newId } from "./ids.ts";

test("ids sort by when they were made, also within a millisecond", () => {
  const ids = Array.from({ length: 10_000 }, () => newId("sevt"));
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids[0]).toMatch(/^sevt_[1-9A-HJ-NP-Za-km-z]{22}$/);
});

test("an id tells the millisecond of its source's clock", () => {
  const now = Date.UTC(2031, 1, 2);
  expect(idTimeMs(idSource(() => now)("sesn"))).toBe(now);
  expect(idTimeMs("sesn_short")).toBeUndefined();
  expect(idTimeMs("sesn_0000000000000000000000")).toBeUndefined();
});

test("a clock that steps back does not break the order", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 10_000 }), { maxLength: 50 }), (times) => {
      let now = 0;
      const next = idSource(() => now);
      const ids = times.map((time) => {
        now = time;
        return next("x");
      });
      expect([...ids].sort()).toEqual(ids);
    }),
  );
});

test("more ids in one millisecond than the counter holds still sort and differ", () => {
  const next = idSource(() => 5);
  const ids = Array.from({ length: 10_000 }, () => next("x"));
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});
