import { describe, expect, test } from "vitest";
import { createLifecycle } from "./lifecycle.ts";
import { createLogger, silentLogger } from "./logger.ts";
import { gate } from "./testing/echo.ts";

const fresh = (drainMs = 100) => createLifecycle({ logger: silentLogger(), drainMs });

describe("lifecycle", () => {
  test("L2: readiness is red and the signal has fired before the first stop runs", async () => {
    const lifecycle = fresh();
    const seen: boolean[] = [];
    lifecycle.setReady(true);
    lifecycle.onReady((ready) => seen.push(ready));
    lifecycle.onStop("first", () => {
      seen.push(lifecycle.ready, lifecycle.signal.aborted);
    });
    await lifecycle.stop("test");
    expect(seen).toEqual([false, false, true]);
    expect(lifecycle.signal.reason).toMatchObject({ kind: "unavailable", reason: "SHUTTING_DOWN", retry: "now" });
    lifecycle.setReady(true);
    expect(lifecycle.ready).toBe(false);
  });

  test("phases run accept, drain, close; within a phase the last opened stops first, one at a time", async () => {
    const lifecycle = fresh();
    const order: string[] = [];
    const add = (name: string, phase?: "accept" | "drain" | "close") =>
      lifecycle.onStop(
        name,
        async () => {
          order.push(`${name} begins`);
          await new Promise(setImmediate);
          order.push(`${name} ends`);
        },
        phase ? { phase } : {},
      );
    add("bus");
    add("store", "close");
    add("server", "drain");
    add("listener", "accept");
    add("consumer", "drain");
    await lifecycle.stop("test");
    expect(order.filter((entry) => entry.endsWith("begins"))).toEqual(
      ["listener", "consumer", "server", "store", "bus"].map((name) => `${name} begins`),
    );
    expect(order.every((entry, index) => index % 2 === 0 || entry.endsWith("ends"))).toBe(true);
  });

  test("L1: however often it is called, it stops once", async () => {
    const lifecycle = fresh();
    let stops = 0;
    lifecycle.onStop("one", () => {
      stops += 1;
    });
    const [a, b] = await Promise.all([lifecycle.stop("a"), lifecycle.stop("b")]);
    expect(stops).toBe(1);
    expect(a).toBe(b);
    expect(a.reason).toBe("a");
  });

  test("L3, L4: a failing and a hanging stop are named and logged, and the next still runs", async () => {
    const lines: string[] = [];
    const logger = createLogger({ service: "test", destination: { write: (line) => void lines.push(line) } });
    const lifecycle = createLifecycle({ logger, drainMs: 30 });
    let last = false;
    lifecycle.onStop("last", () => {
      last = true;
    });
    lifecycle.onStop("hangs", () => new Promise(() => {}), { phase: "drain" });
    lifecycle.onStop("throws", () => {
      throw new Error("will not close");
    });
    const report = await lifecycle.stop("test");
    expect(report.failed).toEqual(["hangs", "throws"]);
    expect(last).toBe(true);
    expect(lines.join("")).toContain("stopping hangs took longer than 30 ms");
    expect(lines.join("")).toContain("will not close");
  });

  test("the signal given to a stop aborts at its deadline", async () => {
    const lifecycle = fresh();
    let aborted = false;
    lifecycle.onStop(
      "slow",
      (signal) =>
        new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => {
            aborted = true;
            resolve();
          });
        }),
      { deadlineMs: 20 },
    );
    await lifecycle.stop("test");
    expect(aborted).toBe(true);
  });

  test("L5: what is registered after the stop began is stopped at once", async () => {
    const lifecycle = fresh();
    await lifecycle.stop("test");
    const stopped = gate();
    lifecycle.onStop("late", () => stopped.open());
    await stopped.opened;
  });
});
