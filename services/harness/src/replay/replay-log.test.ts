import { defaultLimits } from "@manyhands/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import { runPurely } from "../../../../packages/core/src/testing/pure-run.ts";
import { defaultHarness } from "../harness-kinds.ts";
import { replayLog } from "./replay-log.ts";

async function stepsOf(script: readonly number[], limits = defaultLimits, harness = defaultHarness) {
  const { events } = runPurely(script, limits);
  const steps = [];
  for await (const step of replayLog({ events, harness, limits, settings: {} })) steps.push(step);
  return steps;
}

it("finds no difference when the program that wrote a log replays it, whatever happened in it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(10_000), { maxLength: 60 }), async (script) => {
      const steps = await stepsOf(script);
      expect(steps.filter((step) => step.difference !== "").map((step) => [step.position, step.difference])).toEqual(
        [],
      );
    }),
    { numRuns: 150 },
  );
});

it("finds the place where another program goes another way, and goes on comparing behind it", async () => {
  const never = { ...defaultHarness, next: () => ({ type: "rest" }) as const };
  const steps = await stepsOf([1, 9, 9, 8, 0, 0, 0], defaultLimits, never);
  expect(steps.length).toBeGreaterThan(1);
  expect(steps.every((step) => step.difference.endsWith("the tried harness it rests"))).toBe(true);
});
