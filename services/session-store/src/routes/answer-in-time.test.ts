import { type RpcContext, silentLogger, systemClock } from "@manyhands/kit";
import { expect, it, vi } from "vitest";
import { answerInTime, answerMarginMs } from "./answer-in-time.ts";

function context(deadlineMs?: number): RpcContext {
  const signal = new AbortController().signal;
  const base = { signal, metadata: {}, requestId: "req_1", logger: silentLogger() };
  return deadlineMs === undefined ? base : { ...base, deadlineMs };
}

it("answers UNAVAILABLE before the deadline when the work hangs", async () => {
  const hanging = answerInTime(() => new Promise<string>(() => undefined), systemClock);
  const deadlineMs = Date.now() + 150;
  await expect(hanging("", context(deadlineMs))).rejects.toMatchObject({
    kind: "unavailable",
    reason: "OUTCOME_UNKNOWN",
  });
  expect(Date.now()).toBeLessThan(deadlineMs);
});

it("passes answers and failures on, and leaves no timer behind", async () => {
  vi.useFakeTimers();
  try {
    const failing = answerInTime(() => Promise.reject(new Error("no")), systemClock);
    const echoing = answerInTime(async (text: string) => text, systemClock);
    expect(await echoing("a", context(Date.now() + 1000))).toBe("a");
    await expect(failing("", context(Date.now() + 1000))).rejects.toThrow("no");
    expect(await echoing("b", context())).toBe("b");
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

it("leaves room for the answer that grows with the deadline, within bounds", () => {
  expect([100, 400, 1000, 2000, 60_000].map(answerMarginMs)).toEqual([20, 20, 50, 100, 100]);
});
