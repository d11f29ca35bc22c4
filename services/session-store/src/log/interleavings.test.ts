import fc from "fast-check";
import { expect, it } from "vitest";
import type { EventStore } from "../store/event-store.ts";
import { createMemoryEventStore } from "../store/memory-event-store.ts";
import { createGate, gatedStore } from "../testing/gated-store.ts";
import { Interleaving, type Script, script } from "../testing/interleaving.ts";

const cases = 10_000;

/** Each case has a store and an order of its calls of its own; the order is part of the case, so failures repeat. */
async function runCase({ actors, picks, fates }: Script, store: EventStore): Promise<void> {
  const gate = createGate(picks);
  const world = new Interleaving(gatedStore(store, gate, fates), "p");
  let isDone = false;
  const work = world
    .begin()
    .then(() => world.run(actors))
    .finally(() => {
      isDone = true;
    });
  work.catch(() => undefined);
  await gate.run(() => isDone);
  await work;
  await world.check(store);
}

it(`allows only what the model allows, in any interleaving of writers, readers, watches, forks and restarts (${cases})`, async () => {
  let ran = 0;
  const property = fc.asyncProperty(script, async (one) => {
    await runCase(one, createMemoryEventStore());
    ran += 1;
  });
  await fc.assert(property, { numRuns: cases });
  expect(ran).toBe(cases);
}, 120_000);

/** A store with one rule broken. */
const broken: Readonly<Record<string, (store: EventStore) => EventStore>> = {
  "stores a second frame under a number": (store) => {
    const other = createMemoryEventStore();
    const replaced = new Set<string>();
    return {
      ...store,
      async append(frame, timeoutMs) {
        const outcome = await store.append(frame, timeoutMs);
        if (outcome.kind === "stored") return outcome;
        replaced.add(`${frame.sessionId} ${frame.frame}`);
        return other.append(frame, timeoutMs);
      },
      async read(sessionId, frames) {
        const [mine, theirs] = [await store.read(sessionId, frames), await other.read(sessionId, frames)];
        return mine.map((one) => theirs.find((two) => two.frame === one.frame) ?? one);
      },
    };
  },
  "acknowledges what it does not keep": (store) => ({
    ...store,
    append: (frame, timeoutMs) =>
      frame.frame === 2 ? Promise.resolve({ kind: "stored", sequence: 9 }) : store.append(frame, timeoutMs),
  }),
  "hides what was stored last from readers": (store) => ({
    ...store,
    read: async (sessionId, frames) => {
      const last = await store.lastFrame(sessionId);
      return (await store.read(sessionId, frames)).filter((one) => one.frame === 0 || one.frame !== last);
    },
  }),
};

it.each(Object.entries(broken))("finds out a store that %s", async (_, breaking) => {
  const property = fc.asyncProperty(script, (one) => runCase(one, breaking(createMemoryEventStore())));
  const { failed } = await fc.check(property, { numRuns: 500, endOnFailure: true });
  expect(failed).toBe(true);
});
