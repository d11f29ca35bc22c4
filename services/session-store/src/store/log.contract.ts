/**
 * What stands on an event store, run over each of them: the log's S1 to S5 under adversarial orders, and shared histories.
 * `open` makes a store of its own; the suites never share one.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import type { SessionHeader } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import { FrameSchema } from "@manyhands/protocol";
import { eventStoreContract, type OpenStore } from "@manyhands/store-contract";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildFirstFrame } from "../carry/first-frame.ts";
import { findForkPoint } from "../carry/fork-point.ts";
import { walkHistory } from "../carry/verify-history.ts";
import { readEvents } from "../log/event-reader.ts";
import { foldFrame } from "../log/hot-session.ts";
import { createSessionCache } from "../log/session-cache.ts";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { agentMessage, userMessage, woken } from "../testing/service.ts";
import type { EventStore, FrameToAppend } from "./event-store.ts";

function frame(sessionId: string, number: number, id = `${sessionId}/${number}`): FrameToAppend {
  const payload = toBinary(FrameSchema, create(FrameSchema, { id }));
  return { sessionId, frame: number, payload, position: number, count: 1, epoch: 0, status: "idle" };
}

/** The port's own suite, then this one. `forkTrees` is how many random trees of forks are tried. */
export function logContract(name: string, open: () => Promise<OpenStore>, forkTrees = 20): void {
  eventStoreContract(name, open);
  describe(`log over the store: ${name}`, () => {
    let opened: OpenStore;
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(() => opened.close());

    appendContract(() => opened.store);
    sharingContract(() => opened.store, forkTrees);
  });
}

let made = 0;
const id = (): string => {
  made += 1;
  return `sevt_contract${made}`;
};

function appendContract(store: () => EventStore): void {
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

/** What a store must allow for histories to be shared: told by a model that copies where the store refers. */
function sharingContract(store: () => EventStore, forkTrees: number): void {
  it("reads, folds and proves any tree of forks as if each session had been written alone", async () => {
    let tree = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(forkStep, { minLength: 1, maxLength: 25 }), async (steps) => {
        tree += 1;
        await runForks(store(), `sesn_tree${tree}x`, steps);
      }),
      { numRuns: forkTrees },
    );
  });
}

const forkStep = fc.record({
  on: fc.nat(),
  at: fc.nat(),
  what: fc.constantFrom("append", "append", "fork", "read", "restart"),
  size: fc.integer({ min: 1, max: 4 }),
});

type ForkStep = typeof forkStep extends fc.Arbitrary<infer T> ? T : never;

/** Runs the steps on the store and on plain lists of event ids, and compares them at the end and on the way. */
async function runForks(store: EventStore, prefix: string, steps: readonly ForkStep[]): Promise<void> {
  const model: string[][] = [["sevt_created"]];
  let replica = replicaOver(store);
  await replica.log.create(`${prefix}0`, append(created()), within());
  for (const { on, at, what, size } of steps) {
    const index = on % model.length;
    const sessionId = `${prefix}${index}`;
    const known = model[index] ?? [];
    if (what === "restart") replica = replicaOver(store);
    else if (what === "read") await expectSame(replica, sessionId, known, at % known.length);
    else if (what === "append") {
      const events = Array.from({ length: size }, () => agentMessage("text", id()));
      await replica.log.append(sessionId, append(...events), within());
      known.push(...events.map((event) => event.id));
    } else {
      const position = 1 + (at % known.length);
      const forkId = `${prefix}${model.length}`;
      const hot = await replica.cache.current(sessionId);
      const point = await findForkPoint(replica.store, hot, position);
      const header = hot.header ?? expect.fail("no header");
      const built = buildFirstFrame(forkId, { sessionId, position, carrierId: "", header }, point, {
        requestId: "",
        nowMs: Date.now(),
      });
      expect(await replica.log.begin(built, within())).toBe(true);
      model.push([...known.slice(0, position), built.frame.events.at(-1)?.id ?? ""]);
    }
  }
  for (const [index, known] of model.entries()) {
    await expectSame(replica, `${prefix}${index}`, known, 0);
    await expectSame(replicaOver(store), `${prefix}${index}`, known, Math.floor(known.length / 2));
  }
}

async function expectSame(
  { store, cache }: ReturnType<typeof replicaOver>,
  sessionId: string,
  known: readonly string[],
  from: number,
): Promise<void> {
  const hot = await cache.current(sessionId);
  const read: string[] = [];
  for await (const chunk of readEvents(store, hot, { from, to: known.length, descending: false, hint: 3 })) {
    read.push(...chunk.map((event) => event.id));
  }
  expect(read).toEqual(known.slice(from));
  const walk = walkHistory(store, sessionId, {
    frames: hot.nextFrame,
    headHash: hot.lastHash,
    signal: new AbortController().signal,
  });
  let header: SessionHeader | undefined;
  let step = await walk.next();
  for (; step.done !== true; step = await walk.next()) header = foldFrame(header, step.value.frame);
  expect(step.value).toMatchObject({ proved: { position: known.length } });
  expect(step.value.bad).toBeUndefined();
  expect(hot.header).toEqual(header); // folded from the fork's own beginning, and from the origin's
}
