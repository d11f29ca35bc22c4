import { silentLogger } from "@manyhands/kit";
import { fakeClock } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import { Room } from "./room.ts";

const sliceMs = 1_000;

/** A room, what was handed back, and how many wait in the queue. */
function roomOf(capacity: number, queue: { waiting: number } = { waiting: 0 }) {
  const clock = fakeClock();
  const stop = new AbortController();
  let looks = 0;
  const takeWaiting = async () => {
    looks += 1;
    if (queue.waiting === 0) return false;
    queue.waiting -= 1;
    return true;
  };
  const room = new Room({ capacity, sliceMs, takeWaiting, clock, logger: silentLogger(), signal: stop.signal });
  const handedBack: string[] = [];
  const enter = (...ids: string[]) => {
    for (const id of ids) room.enter(id, () => handedBack.push(id));
  };
  return { room, clock, stop, handedBack, enter, looks: () => looks };
}

describe("the places of a process", () => {
  it("are all taken at the capacity (F1), and whoever waits for one is told", async () => {
    const { room, enter } = roomOf(2);
    enter("a", "b");
    expect(room.isFull()).toBe(true);
    let isFree = false;
    const free = room.whenFree(new AbortController().signal).then(() => {
      isFree = true;
    });
    await new Promise(setImmediate);
    expect(isFree).toBe(false);
    room.leave("a");
    await free;
    expect(room.isFull()).toBe(false);
  });

  it("are one more for an interrupt", () => {
    const { room, enter } = roomOf(1);
    enter("a");
    expect([room.isFull(), room.mayBegin(false), room.mayBegin(true)]).toEqual([true, false, true]);
    enter("b");
    expect(room.mayBegin(true)).toBe(false);
  });

  it("keep nobody waiting who stops", async () => {
    const { room, enter } = roomOf(1);
    enter("a");
    const stopped = new AbortController();
    const free = room.whenFree(stopped.signal);
    stopped.abort();
    await free;
    expect(room.isFull()).toBe(true);
  });

  it("are given by the queue alone for a quarter, and where there is one only (F2)", () => {
    const { room, enter } = roomOf(8);
    enter("a", "b", "c", "d", "e");
    expect(room.mayBegin(false)).toBe(true);
    enter("f");
    expect(room.mayBegin(false)).toBe(false);
    expect(room.isFull()).toBe(false);
    expect(roomOf(1).room.mayBegin(false)).toBe(false);
  });
});

describe("sessions that wait while all places are taken (F3)", () => {
  it("get the one that was held longest, after its slice", async () => {
    const { clock, handedBack, enter } = roomOf(2, { waiting: 1 });
    enter("a");
    await clock.advance(400);
    enter("b");
    await clock.advance(500);
    expect(handedBack).toEqual([]);
    await clock.advance(100);
    expect(handedBack).toEqual(["a"]);
    await clock.advance(10 * sliceMs);
    expect(handedBack).toEqual(["a"]); // nobody else waits
  });

  it("get another one when theirs was taken by somebody else", async () => {
    const { room, clock, stop, handedBack, enter } = roomOf(2, { waiting: 1 });
    enter("a", "b");
    await clock.advance(sliceMs);
    expect(handedBack).toEqual(["a"]);
    let isServed = false;
    const served = room.whenMine(stop.signal).then(() => {
      isServed = true;
    });
    room.leave("a");
    enter("c"); // before whoever waits comes to it
    await clock.advance(2 * sliceMs);
    expect([isServed, handedBack]).toEqual([false, ["a", "b"]]);
    room.leave("b");
    await served;
  });

  it("get as many as they are, and none is asked twice", async () => {
    const { clock, handedBack, enter } = roomOf(3, { waiting: 5 });
    enter("a", "b", "c");
    await clock.advance(10 * sliceMs);
    expect(handedBack).toEqual(["a", "b", "c"]);
  });

  it("are looked for once per slice, and not while there is room", async () => {
    const queue = { waiting: 0 };
    const { room, clock, handedBack, enter, looks } = roomOf(2, queue);
    enter("a");
    await clock.advance(5 * sliceMs);
    expect(looks()).toBe(0);
    enter("b");
    await clock.advance(sliceMs);
    expect([looks(), handedBack]).toEqual([2, []]);
    room.leave("a");
    await clock.advance(5 * sliceMs);
    expect([looks(), clock.sleepers]).toEqual([2, 0]);
    queue.waiting = 1;
    enter("c");
    await clock.advance(sliceMs);
    expect(handedBack).toEqual(["b"]);
  });

  it("are not looked for by a process that stops", async () => {
    const { clock, stop, handedBack, enter } = roomOf(1, { waiting: 1 });
    enter("a");
    stop.abort(new Error("stopped"));
    await clock.advance(5 * sliceMs);
    expect(handedBack).toEqual([]);
  });
});
