/**
 * The suite: the port's invariants E1 to E5, adversarial orders, and random programs against a model. One store serves
 * all of it, each test with sessions of its own.
 */
import type { EventStore } from "@manyhands/bus";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { adversarialOrders } from "./adversarial-orders.ts";
import { answerMs, frame, isSame } from "./frames.ts";
import { againstModel } from "./model.ts";
import type { OpenStore, StoreUnderTest } from "./store-under-test.ts";

/** Declares the tests. `name` tells runs apart; `open` is called once; `programs` is how many random programs are tried. */
export function eventStoreContract(name: string, open: () => Promise<OpenStore>, programs = 30): void {
  describe(`event store contract: ${name}`, () => {
    let opened: OpenStore;
    let current: EventStore;
    const under: StoreUnderTest = {
      get store() {
        return current;
      },
      async reopen() {
        current = (await opened.reopen?.()) ?? current;
      },
    };
    beforeAll(async () => {
      opened = await open();
      current = opened.store;
    });
    afterAll(() => opened.close());

    invariants(under);
    adversarialOrders(under);
    againstModel(under, programs);
  });
}

function invariants(under: StoreUnderTest): void {
  it("E1 stores a frame once, however many ask at the same time", async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, n) => under.store.append(frame("sesn_e1", 0, `w${n}`), answerMs)),
    );
    expect(outcomes.filter((one) => one.kind === "stored")).toHaveLength(1);
    expect(outcomes.filter((one) => one.kind === "exists")).toHaveLength(19);
  });

  it("E2 reads back what was acknowledged, ascending, without what is missing", async () => {
    const { store } = under;
    for (const number of [0, 1, 2, 3, 5]) await store.append(frame("sesn_e2", number), answerMs);
    const frames = await store.read("sesn_e2", [5, 4, 3, 0]);
    expect(frames.map((one) => one.frame)).toEqual([0, 3, 5]);
    for (const one of frames) {
      expect(isSame(one.payload, frame("sesn_e2", one.frame).payload)).toBe(true);
      expect([one.sessionId, one.position, one.count]).toEqual(["sesn_e2", one.frame, 1]);
    }
    expect(await store.readFromLeader("sesn_e2", 3, answerMs)).toBeDefined();
    expect(await store.readFromLeader("sesn_e2", 4, answerMs)).toBeUndefined();
    expect([await store.exists("sesn_e2"), await store.exists("sesn_none")]).toEqual([true, false]);
  });

  it("E3 tells the tail winners only, in order, and nothing after it was stopped", async () => {
    const { store } = under;
    const seen: number[] = [];
    const stop = await store.tail("sesn_e3", (one) => seen.push(one.frame));
    for (const number of [0, 0, 1, 1, 2]) await store.append(frame("sesn_e3", number), answerMs);
    await expect.poll(() => seen.length, { timeout: answerMs }).toBe(3);
    stop();
    await store.append(frame("sesn_e3", 3), answerMs);
    expect(seen).toEqual([0, 1, 2]);
  });

  it("E4 follows history and then live, each session in order", async () => {
    const { store } = under;
    const seen: number[] = [];
    let isCaughtUp = false;
    await store.append(frame("sesn_e4", 0), answerMs);
    const follower = await store.follow({
      fromSequence: 1,
      onFrame: (one) => one.sessionId === "sesn_e4" && seen.push(one.frame),
      onCaughtUp: () => {
        isCaughtUp = true;
      },
    });
    await expect.poll(() => isCaughtUp, { timeout: answerMs }).toBe(true);
    for (const number of [1, 2, 3]) await store.append(frame("sesn_e4", number), answerMs);
    await expect.poll(() => seen.length, { timeout: answerMs }).toBe(4);
    expect(seen).toEqual([0, 1, 2, 3]);
    await follower.stop();
  });

  it("E5 tells a follower that reads on what was stored before, and what it skipped at most once", async () => {
    const { store } = under;
    const seen: number[] = [];
    const follower = await store.follow({
      fromSequence: 1,
      onFrame: (one) => one.sessionId === "sesn_e5" && seen.push(one.frame),
      onCaughtUp: () => undefined,
    });
    const sequences: number[] = [];
    for (const number of [0, 1, 2, 3]) {
      const outcome = await store.append(frame("sesn_e5", number), answerMs);
      if (outcome.kind === "stored") sequences.push(outcome.sequence);
    }
    const [, skipped = 0, , last = 0] = sequences;
    follower.skip(skipped);
    expect(await follower.readOn(last, answerMs)).toBe(true);
    expect(follower.sequence()).toBeGreaterThanOrEqual(last);
    expect(seen.filter((number) => number !== 1)).toEqual([0, 2, 3]);
    expect(new Set(seen).size).toBe(seen.length);
    follower.skip(last + 1);
    expect(await follower.readOn(last + 2, 50)).toBe(false);
    await follower.stop();
  });

  it("removes all but the newest frame, or all, and tells its last one", async () => {
    const { store } = under;
    expect(await store.lastFrame("sesn_purge")).toBeUndefined();
    for (const number of [0, 1, 2]) await store.append(frame("sesn_purge", number), answerMs);
    expect(await store.lastFrame("sesn_purge")).toBe(2);
    expect(await store.purge("sesn_purge")).toBe(2);
    expect((await store.read("sesn_purge", [0, 1, 2])).map((one) => one.frame)).toEqual([2]);
    expect(await store.exists("sesn_purge")).toBe(true);
    expect(await store.purge("sesn_purge", 0)).toBe(1);
    expect(await store.exists("sesn_purge")).toBe(false);
    expect(await store.lastFrame("sesn_purge")).toBeUndefined();
  });
}
