import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { eventually } from "./eventually.ts";
import { fakeClock } from "./fake-clock.ts";
import { type Decider, spec } from "./spec.ts";
import { tempDir } from "./temp-dir.ts";

describe("eventually", () => {
  test("returns the first value that is there", async () => {
    let looks = 0;
    const look = () => {
      looks += 1;
      return looks < 3 ? undefined : `look ${looks}`;
    };
    expect(await eventually(look, { everyMs: 1 })).toBe("look 3");
  });

  test("zero and the empty string are values", async () => {
    expect(await eventually(() => 0)).toBe(0);
    expect(await eventually(() => "")).toBe("");
  });

  test("throws the last error at the deadline", async () => {
    const failing = eventually(
      () => {
        throw new Error("still not");
      },
      { timeoutMs: 5, everyMs: 1 },
    );
    await expect(failing).rejects.toThrow("still not");
    await expect(eventually(() => false, { timeoutMs: 5, everyMs: 1 })).rejects.toThrow("within 5 ms");
  });
});

describe("fakeClock", () => {
  test("wakes sleepers in order of time, each at its own time", async () => {
    const clock = fakeClock(0);
    const woken: [string, number][] = [];
    const sleeper = async (name: string, ms: number) => {
      await clock.sleep(ms);
      woken.push([name, clock.nowMs()]);
    };
    const all = [sleeper("late", 30), sleeper("early", 10)];
    await clock.advance(20);
    expect(woken).toEqual([["early", 10]]);
    expect([clock.nowMs(), clock.sleepers]).toEqual([20, 1]);
    await clock.advance(10);
    await Promise.all(all);
    expect(woken).toEqual([
      ["early", 10],
      ["late", 30],
    ]);
  });

  test("a sleep that begins while the time moves is still woken within the move", async () => {
    const clock = fakeClock(0);
    const twice = (async () => {
      await clock.sleep(10);
      await clock.sleep(10);
      return clock.nowMs();
    })();
    await clock.advance(100);
    expect(await twice).toBe(20);
  });

  test("an aborted sleep rejects with the reason and is forgotten", async () => {
    const clock = fakeClock();
    const controller = new AbortController();
    const sleep = clock.sleep(10, controller.signal);
    controller.abort(new Error("enough"));
    await expect(sleep).rejects.toThrow("enough");
    expect(clock.sleepers).toBe(0);
  });
});

describe("spec", () => {
  type Event = { readonly type: "opened" | "closed" };
  type Command = "open" | "close";
  const door: Decider<boolean, Command, Event> = {
    initial: () => false,
    evolve: (_open, event) => event.type === "opened",
    decide(command, open) {
      if (command === "close" && !open) {
        throw new RangeError("it is not open");
      }
      return command === "open" && open ? [] : [{ type: command === "open" ? "opened" : "closed" }];
    },
  };
  const given = spec(door);

  test("given, when, then", () => {
    given().when("open").thenEvents({ type: "opened" });
    given({ type: "opened" }).when("open").thenNothing();
    given()
      .when("close")
      .thenThrows(/not open/);
    given().when("close").thenThrows(RangeError);
  });

  test("a wrong expectation fails", () => {
    expect(() => given().when("open").thenNothing()).toThrow();
    expect(() => given().when("open").thenEvents({ type: "closed" })).toThrow();
    expect(() => given().when("open").thenThrows(/x/)).toThrow();
  });
});

test("a temporary folder is removed at the end of its block", async () => {
  let path = "";
  {
    await using dir = await tempDir();
    path = dir.path;
    expect(existsSync(path)).toBe(true);
  }
  expect(existsSync(path)).toBe(false);
});
