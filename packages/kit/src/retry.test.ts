import { fakeClock } from "@manyhands/testkit";
import { describe, expect, test } from "vitest";
import { withDeadline } from "./deadline.ts";
import { AppError } from "./errors.ts";
import { backoffMs, retry } from "./retry.ts";

describe("backoffMs", () => {
  test("grows to its cap, and jitter takes away at most half", () => {
    const waits = [1, 2, 3, 4, 20].map((attempt) =>
      backoffMs(attempt, { initialMs: 100, maxMs: 1000, random: () => 1 }),
    );
    expect(waits).toEqual([100, 200, 400, 800, 1000]);
    expect(backoffMs(2, { random: () => 0 })).toBe(100);
  });
});

describe("retry", () => {
  test("tries again after a growing wait, never more often than told", async () => {
    const clock = fakeClock();
    const at: number[] = [];
    const start = clock.nowMs();
    const done = retry(
      async () => {
        at.push(clock.nowMs() - start);
        throw AppError.unavailable("DOWN", "down");
      },
      { attempts: 3, random: () => 1, clock },
    ).catch((error: unknown) => error);
    await clock.advance(10_000);
    expect(await done).toMatchObject({ reason: "DOWN" });
    expect(at).toEqual([0, 100, 300]);
  });

  test("waits at least as long as the error asks", async () => {
    const clock = fakeClock();
    const start = clock.nowMs();
    const done = retry(
      async (attempt) => {
        if (attempt === 1) {
          throw AppError.exhausted("RATE", "slow down", 5000);
        }
        return clock.nowMs() - start;
      },
      { attempts: 2, clock },
    );
    await clock.advance(20_000);
    expect(await done).toBe(5000);
  });

  test("does not repeat what must not be repeated", async () => {
    let attempts = 0;
    const work = async () => {
      attempts += 1;
      throw AppError.conflict("MOVED", "moved");
    };
    await expect(retry(work, { attempts: 5 })).rejects.toMatchObject({ reason: "MOVED" });
    expect(attempts).toBe(1);
  });

  test("an abort ends the wait with its reason", async () => {
    const clock = fakeClock();
    const controller = new AbortController();
    const work = async () => {
      controller.abort(AppError.cancelled("enough"));
      throw AppError.unavailable("DOWN", "down");
    };
    await expect(retry(work, { attempts: 5, clock, signal: controller.signal })).rejects.toMatchObject({
      reason: "DOWN",
    });
  });
});

describe("withDeadline", () => {
  test("rejects at the deadline even when the work ignores it, and tells the work", async () => {
    let told: AbortSignal | undefined;
    const work = withDeadline(10, "the work", (signal) => {
      told = signal;
      return new Promise<never>(() => {});
    });
    await expect(work).rejects.toMatchObject({ kind: "deadline", message: "the work took longer than 10 ms" });
    expect(told?.aborted).toBe(true);
  });
});
