/** Orders in which real systems fail: lost answers, doubled deliveries, storms, readers at the tail, restarts. */
import type { EventStore, StoredFrame } from "@manyhands/bus";
import { expect, it } from "vitest";
import { answerMs, appendNext, frame, isSame, numbers, settle } from "./frames.ts";
import type { StoreUnderTest } from "./store-under-test.ts";

const stormWriters = 8;
const stormFrames = 25;

/** Declares the tests. */
export function adversarialOrders(under: StoreUnderTest): void {
  it("settles a lost answer by sending the same bytes again", async () => {
    const store = losing(under.store, (n) => n % 2 === 0);
    for (const number of numbers(0, 20)) expect(await settle(store, frame("sesn_lost", number))).toBe(true);
    expect((await under.store.read("sesn_lost", numbers(0, 30))).map((one) => one.frame)).toEqual(numbers(0, 20));
  });

  it("tells a lost answer from a lost race", async () => {
    await under.store.append(frame("sesn_race", 0, "theirs"), answerMs);
    const store = losing(under.store, () => true);
    expect(await settle(store, frame("sesn_race", 0, "mine"))).toBe(false);
    expect(await settle(store, frame("sesn_race", 0, "theirs"))).toBe(true);
  });

  it("stores a frame once that is delivered again, at once and much later, and tells of it once", async () => {
    const { store } = under;
    const told: number[] = [];
    const stop = await store.tail("sesn_twice", (one) => told.push(one.frame));
    for (const number of numbers(0, 5)) {
      const outcomes = await Promise.all([0, 1, 2].map(() => store.append(frame("sesn_twice", number), answerMs)));
      expect(outcomes.some((one) => one.kind === "stored")).toBe(true);
    }
    for (const number of numbers(0, 5)) {
      const again = await store.append(frame("sesn_twice", number, "another"), answerMs);
      expect(again.kind).toBe("exists");
    }
    await expect.poll(() => told.length, { timeout: answerMs }).toBe(5);
    stop();
    expect(told).toEqual(numbers(0, 5));
    const stored = await store.read("sesn_twice", numbers(0, 9));
    expect(stored.map((one) => one.frame)).toEqual(numbers(0, 5));
    for (const one of stored) expect(isSame(one.payload, frame("sesn_twice", one.frame).payload)).toBe(true);
  });

  it("keeps numbers gapless and every frame once in a storm of writers", async () => {
    const { store } = under;
    const places = await storm(store, "sesn_storm");
    expect([...places.values()].sort((a, b) => a - b)).toEqual(numbers(0, stormWriters * stormFrames));
    const stored = await store.read("sesn_storm", numbers(0, stormWriters * stormFrames + 5));
    expect(stored).toHaveLength(stormWriters * stormFrames);
    for (const [id, number] of places) {
      expect(isSame(stored[number]?.payload, frame("sesn_storm", number, id).payload), id).toBe(true);
    }
  });

  it("lets a reader at the tail see every frame once and in order while others write", async () => {
    const { store } = under;
    const total = stormWriters * stormFrames;
    const reader = readAlong(store, "sesn_tail");
    const stop = await store.tail("sesn_tail", reader.hear);
    await storm(store, "sesn_tail");
    await expect.poll(() => reader.seen().length, { timeout: answerMs }).toBe(total);
    stop();
    expect(reader.seen()).toEqual(numbers(0, total));
  });

  it("keeps what was acknowledged, and numbers that are taken, over restarts between frames", async () => {
    const sequences: number[] = [];
    for (const number of numbers(0, 4)) {
      const outcome = await under.store.append(frame("sesn_restart", number), answerMs);
      if (outcome.kind === "stored") sequences.push(outcome.sequence);
      await under.reopen();
      const { store } = under;
      expect((await store.read("sesn_restart", numbers(0, 9))).map((one) => one.frame)).toEqual(numbers(0, number + 1));
      expect((await store.append(frame("sesn_restart", number, "another"), answerMs)).kind).toBe("exists");
      expect(await store.lastFrame("sesn_restart")).toBe(number);
    }
    expect(sequences).toEqual([...sequences].sort((a, b) => a - b));
    const followed: number[] = [];
    const follower = await under.store.follow({
      fromSequence: sequences[2] ?? 0,
      onFrame: (one) => one.sessionId === "sesn_restart" && followed.push(one.frame),
      onCaughtUp: () => undefined,
    });
    await expect.poll(() => followed, { timeout: answerMs }).toEqual([2, 3]);
    await follower.stop();
  });
}

/** A store whose answer to the n-th append is lost, after the append or before it. */
function losing(store: EventStore, isLost: (n: number) => boolean): EventStore {
  let count = 0;
  let inARow = 0;
  return {
    ...store,
    async append(one, timeoutMs) {
      count += 1;
      // At most three in a row, so that a writer that keeps trying gets through.
      if (!isLost(count) || inARow >= 3) {
        inARow = 0;
        return store.append(one, timeoutMs);
      }
      inARow += 1;
      if (count % 4 !== 0) await store.append(one, timeoutMs);
      return { kind: "unknown", why: "the answer was dropped" };
    },
  };
}

/** Writers that all append behind what they know; answers where each frame went, by its id. */
async function storm(store: EventStore, sessionId: string): Promise<Map<string, number>> {
  const places = new Map<string, number>();
  const write = async (writer: number) => {
    let next = 0;
    for (const n of numbers(0, stormFrames)) {
      const id = `w${writer}-${n}`;
      const number = await appendNext(store, sessionId, id, next);
      places.set(id, number);
      next = number + 1;
    }
  };
  await Promise.all(numbers(0, stormWriters).map(write));
  return places;
}

/** A reader as the port asks for: what joins on is taken from the tail, everything else is read from the log. */
function readAlong(store: EventStore, sessionId: string) {
  const seen: number[] = [];
  let reading = Promise.resolve();
  const fill = async (upTo: number) => {
    if (upTo < seen.length) return;
    for (const one of await store.read(sessionId, numbers(seen.length, upTo + 1))) {
      if (one.frame === seen.length) seen.push(one.frame);
    }
  };
  return {
    seen: () => seen,
    hear: (one: StoredFrame) => {
      reading = reading.then(() => fill(one.frame));
    },
  };
}
