/** What every hand store must keep, as tests. */
import { newId } from "@manyhands/kit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HandRecord } from "./hand-record.ts";
import type { HandStore } from "./hand-store.ts";

function newRecord(overrides: Partial<HandRecord> = {}): HandRecord {
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
