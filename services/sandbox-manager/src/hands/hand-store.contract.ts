/** What every hand store must keep, as tests. */
import { newId } from "@manyhands/kit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HandRecord } from "./hand-record.ts";
import type { HandStore } from "./hand-store.ts";

/** A record of a hand that is being made. */
export function newRecord(overrides: Partial<HandRecord> = {}): HandRecord {
  const limits = { memoryBytes: 1, cpuMillis: 1, workspaceBytes: 1, pids: 1 };
  return {
    handId: newId("hand"),
    sessionId: newId("sesn"),
    name: "default",
    generation: 1,
    driver: "virtual",
    place: "virtual:x",
    notIsolated: ["words"],
    recipe: { ...limits, image: "", env: { A: "b" }, repositories: [], files: [], driver: "" },
    state: "provisioning",
    managerId: "m",
    managerAddress: "127.0.0.1:1",
    attachEpoch: 1,
    brainEpoch: 0,
    createdAtMs: 1,
    changedAtMs: 1,
    lostReason: "",
    ...overrides,
  };
}

/** The suite; `open` makes a store, `close` ends what it opened. */
export function describeHandStore(title: string, open: () => Promise<HandStore>, close: () => Promise<void>): void {
  describe(`hand store contract: ${title}`, () => {
    let store: HandStore;
    beforeAll(async () => {
      store = await open();
    });
    afterAll(close);

    test("a record is found by session and name and by its hand, as it was written", async () => {
      const record = newRecord();
      const written = await store.write(record, 0);
      expect(written?.record).toEqual(record);
      expect(await store.current(record.sessionId, record.name)).toEqual(written);
      expect(await store.byId(record.handId)).toEqual(written);
      expect(await store.byId("hand_none")).toBeUndefined();
      expect(await store.current(record.sessionId, "other")).toBeUndefined();
    });

    test("of writers that saw the same revision exactly one wins", async () => {
      const record = newRecord();
      const first = await Promise.all(
        Array.from({ length: 8 }, () => store.write({ ...record, handId: newId("hand") }, 0)),
      );
      const winners = first.filter((written) => written !== undefined);
      expect(winners).toHaveLength(1);
      const [winner] = winners;
      if (!winner) throw new Error("nobody won");
      const next = await Promise.all(
        ["ready", "lost"].map((state) =>
          store.write({ ...winner.record, state: state === "ready" ? "ready" : "lost" }, winner.revision),
        ),
      );
      expect(next.filter((written) => written !== undefined)).toHaveLength(1);
    });

    test("a replaced hand's id leads to its successor", async () => {
      const record = newRecord();
      const first = await store.write(record, 0);
      const successor = { ...record, handId: newId("hand"), generation: 2 };
      await store.write(successor, first?.revision ?? 0);
      expect((await store.byId(record.handId))?.record.handId).toBe(successor.handId);
    });

    test("a moved hand is found by its id at its new place, and only there", async () => {
      const [from, to] = [newId("sesn"), newId("sesn")];
      const made = await store.write(newRecord({ sessionId: from, brainEpoch: 9 }), 0);
      const ready = made && (await store.write({ ...made.record, state: "ready" }, made.revision));
      if (!ready) throw new Error("not written");
      const { handId } = ready.record;
      const target = { moveId: "move_1", sessionId: to, name: "default", atMs: 5 };
      const moved = await store.move(ready, target);
      const expected = { handId, sessionId: to, state: "ready", brainEpoch: 0, filesSessionId: from };
      expect(moved?.record).toMatchObject({ ...expected, moved: { id: "move_1", fromSessionId: from } });
      expect(await store.byId(handId)).toEqual(moved);
      expect((await store.current(from, "default"))?.record).toMatchObject({ handId, state: "released" });
      expect(await store.move(ready, target)).toBeUndefined(); // it is not the latest any more
      // Another hand in its old place does not hide it, and one in its new place is not overwritten.
      const next = newRecord({ sessionId: from, generation: 2 });
      const old = await store.current(from, "default");
      const second = await store.write(next, old?.revision ?? 0);
      const secondReady = second && (await store.write({ ...second.record, state: "ready" }, second.revision));
      expect((await store.byId(handId))?.record.sessionId).toBe(to);
      expect(secondReady && (await store.move(secondReady, target))).toBeUndefined();
      expect((await store.byId(next.handId))?.record.sessionId).toBe(from);
      // And back: into a place whose own hand was given back.
      const current =
        secondReady && (await store.write({ ...secondReady.record, state: "released" }, secondReady.revision));
      expect(current).toBeDefined();
      const back = moved && (await store.move(moved, { ...target, moveId: "move_2", sessionId: from }));
      expect(back?.record).toMatchObject({ handId, sessionId: from, filesSessionId: from, generation: 3 });
      expect(await store.byId(handId)).toEqual(back);
    });

    test("a session's records are listed by name, and only they", async () => {
      const sessionId = newId("sesn");
      for (const name of ["b", "a"]) await store.write(newRecord({ sessionId, name }), 0);
      expect((await store.list(sessionId)).map(({ record }) => record.name)).toEqual(["a", "b"]);
      expect((await store.list()).length).toBeGreaterThanOrEqual(2);
      expect(await store.list("sesn_none")).toEqual([]);
    });

    test("the platform's id is made once", async () => {
      const ids = await Promise.all(Array.from({ length: 4 }, () => store.platformId()));
      expect(new Set(ids).size).toBe(1);
    });
  });
}
