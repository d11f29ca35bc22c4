/**
 * What every event store must do, run against each of them: the port's invariants E1 to E4 and, on top of the store,
 * the log's S1 to S5 under adversarial orders. `open` makes a store of its own; the suite never shares one.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { AppError } from "@manyhands/kit";
import { FrameSchema } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSessionCache } from "../log/session-cache.ts";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { agentMessage, userMessage, woken } from "../testing/service.ts";
import type { EventStore, FrameToAppend } from "./event-store.ts";

/** A store to be tested. */
export interface OpenStore {
  readonly store: EventStore;
  close(): Promise<void>;
}

function frame(sessionId: string, number: number, id = `${sessionId}/${number}`): FrameToAppend {
  const payload = toBinary(FrameSchema, create(FrameSchema, { id }));
  return { sessionId, frame: number, payload, position: number, count: 1, epoch: 0, status: "idle" };
}

/** The suite. `name` tells the runs apart. */
export function eventStoreContract(name: string, open: () => Promise<OpenStore>): void {
  describe(`event store contract: ${name}`, () => {
    let opened: OpenStore;
    let store: EventStore;

    beforeAll(async () => {
      opened = await open();
      store = opened.store;
    });

    afterAll(() => opened.close());

    it("E1 stores a frame once, however many ask at the same time", async () => {
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, n) => store.append(frame("sesn_e1", 0, `w${n}`), 5000)),
      );
      expect(outcomes.filter((one) => one.kind === "stored")).toHaveLength(1);
      expect(outcomes.filter((one) => one.kind === "exists")).toHaveLength(19);
    });

    it("E2 reads back what was acknowledged, ascending, without what is missing", async () => {
      for (const number of [0, 1, 2, 3, 5]) await store.append(frame("sesn_e2", number), 5000);
      const frames = await store.read("sesn_e2", [5, 4, 3, 0]);
      expect(frames.map((one) => one.frame)).toEqual([0, 3, 5]);
      expect(Buffer.compare(frames[0]?.payload ?? new Uint8Array(), frame("sesn_e2", 0).payload)).toBe(0);
      expect(await store.readFromLeader("sesn_e2", 3, 5000)).toBeDefined();
      expect(await store.readFromLeader("sesn_e2", 4, 5000)).toBeUndefined();
      expect(await store.exists("sesn_e2")).toBe(true);
      expect(await store.exists("sesn_none")).toBe(false);
    });

    it("E3 tells the tail winners only, in order, and nothing after it was stopped", async () => {
      const seen: number[] = [];
      const stop = await store.tail("sesn_e3", (one) => seen.push(one.frame));
      for (const number of [0, 0, 1, 1, 2]) await store.append(frame("sesn_e3", number), 5000);
      await eventually(() => seen.length >= 3);
      stop();
      await store.append(frame("sesn_e3", 3), 5000);
      expect(seen).toEqual([0, 1, 2]);
    });

    it("E4 follows history and then live, each session in order", async () => {
      const seen: number[] = [];
      let caughtUp = false;
      await store.append(frame("sesn_e4", 0), 5000);
      const follower = await store.follow({
        fromSequence: 1,
        onFrame: (one) => one.sessionId === "sesn_e4" && seen.push(one.frame),
        onCaughtUp: () => {
          caughtUp = true;
        },
      });
      await eventually(() => caughtUp);
      for (const number of [1, 2, 3]) await store.append(frame("sesn_e4", number), 5000);
      await eventually(() => seen.length === 4);
      expect(seen).toEqual([0, 1, 2, 3]);
      await follower.stop();
    });

    it("removes all but the newest frame", async () => {
      for (const number of [0, 1, 2]) await store.append(frame("sesn_purge", number), 5000);
      expect(await store.purge("sesn_purge")).toBe(2);
      expect((await store.read("sesn_purge", [0, 1, 2])).map((one) => one.frame)).toEqual([2]);
      expect(await store.exists("sesn_purge")).toBe(true);
    });

    logContract(() => store);
  });
}

let made = 0;
const id = (): string => {
  made += 1;
  return `sevt_contract${made}`;
};

function logContract(store: () => EventStore): void {
  it("S2 S3 keeps positions gapless when many replicas write at once", async () => {
    const replicas = Array.from({ length: 5 }, () => replicaOver(store()));
    await replicas[0]?.log.create("sesn_storm", append(created()), within());
    const positions = await Promise.all(
      replicas.flatMap(({ log }) =>
        Array.from({ length: 8 }, async () => {
          const { events } = await log.append(
            "sesn_storm",
            append(agentMessage("a", id()), agentMessage("b", id())),
            within(),
          );
          return events.map((event) => Number(event.position));
        }),
      ),
    );
    expect(positions.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 80 }, (_, n) => n + 1));
    for (const pair of positions) expect(pair[1]).toBe((pair[0] ?? 0) + 1);
  });

  it("S4 lets exactly one brain take the next epoch, and stops the older one", async () => {
    const [a, b] = [replicaOver(store()), replicaOver(store())];
    await a.log.create("sesn_fence", append(created()), within());
    const take = (log: typeof a.log, epoch: number) =>
      log.append("sesn_fence", { events: [{ ...woken(epoch), id: id() }], requestId: "", epoch }, within());
    const outcomes = await Promise.allSettled([take(a.log, 1), take(b.log, 1)]);
    expect(outcomes.filter((one) => one.status === "fulfilled")).toHaveLength(1);
    await take(b.log, 2);
    await expect(
      a.log.append("sesn_fence", { events: [agentMessage("zombie", id())], requestId: "", epoch: 1 }, within()),
    ).rejects.toMatchObject({ reason: "FENCED", details: { metadata: { epoch: "2" } } });
  });

  it("S5 answers a repeat on another replica, also after the head has moved on", async () => {
    const [a, b] = [replicaOver(store()), replicaOver(store())];
    await a.log.create("sesn_again", append(created()), within());
    await b.cache.open("sesn_again");
    const request = () => ({ events: [userMessage("once", "sevt_once")], requestId: "r1", epoch: 0 });
    await a.log.append("sesn_again", request(), within());
    await a.log.append("sesn_again", append(agentMessage("more", id())), within());
    const again = await b.log.append("sesn_again", request(), within());
    expect(again).toMatchObject({ duplicate: true, events: [{ position: 1n }], headPosition: 3 });
  });

  it("S1 S5 stores once when the acknowledgement is lost, however often", async () => {
    let lost = 3;
    const lossy: EventStore = {
      ...store(),
      async append(one, timeoutMs) {
        const outcome = await store().append(one, timeoutMs);
        if (lost === 0) return outcome;
        lost -= 1;
        return { kind: "unknown", why: "the acknowledgement was dropped" };
      },
    };
    const { log } = replicaOver(lossy);
    await log.create("sesn_lost", append(created()), within());
    lost = 1;
    const { events, duplicate } = await log.append("sesn_lost", append(agentMessage("one", id())), within());
    expect([Number(events[0]?.position), duplicate]).toEqual([1, false]);
    expect(await replicaOver(store()).cache.current("sesn_lost")).toMatchObject({ nextFrame: 2 });
  });

  it("tells a lost race from its own lost acknowledgement", async () => {
    const other = replicaOver(store());
    let raced = false;
    const lossy: EventStore = {
      ...store(),
      async append(one, timeoutMs) {
        if (raced || one.frame === 0) return store().append(one, timeoutMs);
        raced = true;
        await other.log.append("sesn_race", append(agentMessage("theirs", id())), within());
        return { kind: "unknown", why: "never arrived" };
      },
    };
    const mine = replicaOver(lossy);
    await mine.log.create("sesn_race", append(created()), within());
    await expect(
      mine.log.append("sesn_race", { ...append(agentMessage("mine", id())), expectedPosition: 1 }, within()),
    ).rejects.toMatchObject({ reason: "POSITION_CONFLICT", details: { metadata: { head_position: "2" } } });
  });

  it("answers UNAVAILABLE within the deadline when nothing is known", async () => {
    const deaf: EventStore = { ...store(), append: async () => ({ kind: "unknown", why: "silence" }) };
    const { log } = replicaOver(deaf);
    const started = Date.now();
    await expect(log.create("sesn_deaf", append(created()), within(300))).rejects.toMatchObject({
      kind: "unavailable",
      reason: "OUTCOME_UNKNOWN",
    });
    expect(Date.now() - started).toBeLessThan(1500);
  });

  it("parks a session whose log has a hole, and says which frame", async () => {
    const { log } = replicaOver(store());
    await log.create("sesn_hole", append(created()), within());
    await log.append("sesn_hole", append(agentMessage("a", id())), within());
    await store().append(frame("sesn_hole", 3), 5000);
    await expect(replicaOver(store()).cache.current("sesn_hole")).rejects.toMatchObject({
      reason: "LOG_DAMAGED",
      details: { metadata: { frame: "2" } },
    });
  });

  it("notices a frame that does not carry the hash of the one before", async () => {
    const { log } = replicaOver(store());
    await log.create("sesn_hash", append(created()), within());
    const forged = create(FrameSchema, {
      id: "forged",
      firstPosition: 1n,
      previousHash: new Uint8Array(32),
      events: [{ ...agentMessage("forged", id()), position: 1n }],
    });
    await store().append({ ...frame("sesn_hash", 1), payload: toBinary(FrameSchema, forged) }, 5000);
    const error = await replicaOver(store())
      .cache.current("sesn_hash")
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(AppError);
    expect(error).toMatchObject({ reason: "LOG_DAMAGED", details: { metadata: { frame: "1" } } });
  });

  it("folds a long log the same from the start and from a known head", async () => {
    const { log, cache } = replicaOver(store());
    await log.create("sesn_long", append(created()), within());
    for (let n = 0; n < 600; n += 1) await log.append("sesn_long", append(agentMessage(`${n}`, id())), within());
    const hot = await cache.current("sesn_long");
    const cold = await replicaOver(store()).cache.current("sesn_long");
    expect(cold.header).toEqual(hot.header);
    expect(Buffer.compare(cold.lastHash, hot.lastHash)).toBe(0);
    const known = { header: hot.header ?? expect.fail("no header"), nextFrame: 560 };
    known.header = { ...known.header, head_position: 560 };
    const resumed = createSessionCache({ store: store(), startOf: () => known, maxSessions: 9, maxIds: 9999 });
    expect((await resumed.current("sesn_long")).header).toEqual(hot.header);
  });
}
