/** What every side store must do, run against each of them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SideKey, SideStore } from "./side-store.ts";

/** A store to be tested. */
export interface OpenSideStore {
  readonly store: SideStore;
  close(): Promise<void>;
}

const sha256 = "ab".repeat(32);
const blob = (chunk: number): SideKey => ({ kind: "blob", sha256, chunk });
const ids = (segment: number): SideKey => ({ kind: "ids", segment });
const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = (found: (Uint8Array | undefined)[]) =>
  found.map((one) => (one === undefined ? undefined : Buffer.from(one).toString()));

/** The suite. */
export function sideStoreContract(name: string, open: () => Promise<OpenSideStore>): void {
  describe(`side store contract: ${name}`, () => {
    let opened: OpenSideStore;
    let store: SideStore;

    beforeAll(async () => {
      opened = await open();
      store = opened.store;
    });

    afterAll(() => opened.close());

    it("D1 keeps the first of many under a key", async () => {
      await store.create("sesn_d1", { key: ids(0), bytes: bytes("first") });
      await Promise.all([1, 2, 3].map((n) => store.create("sesn_d1", { key: ids(0), bytes: bytes(`${n}`) })));
      expect(textOf(await store.read("sesn_d1", [ids(0)]))).toEqual(["first"]);
    });

    it("D2 reads back in the order asked, and says what is missing", async () => {
      for (const chunk of [0, 1, 2, 3]) await store.create("sesn_d2", { key: blob(chunk), bytes: bytes(`b${chunk}`) });
      await store.create("sesn_d2", { key: ids(1), bytes: bytes("i") });
      const found = await store.read("sesn_d2", [blob(3), ids(0), ids(1), blob(0)]);
      expect(textOf(found)).toEqual(["b3", undefined, "i", "b0"]);
      expect(await store.read("sesn_d2", [])).toEqual([]);
    });

    it("D2 reads objects back whole when together they are larger than one answer", async () => {
      const big = new Uint8Array(256 * 1024).fill(7);
      const keys = Array.from({ length: 40 }, (_, chunk) => blob(chunk));
      for (const key of keys) await store.create("sesn_big", { key, bytes: big });
      const found = await store.read("sesn_big", keys);
      expect(found.map((one) => one?.length)).toEqual(keys.map(() => big.length));
    });

    it("D3 removes one session's objects and no other's", async () => {
      for (const sessionId of ["sesn_d3", "sesn_d33"]) {
        await store.create(sessionId, { key: blob(0), bytes: bytes("x") });
        await store.create(sessionId, { key: ids(0), bytes: bytes("y") });
      }
      expect(await store.purge("sesn_d3")).toBe(2);
      expect(await store.purge("sesn_d3")).toBe(0);
      expect(textOf(await store.read("sesn_d3", [blob(0), ids(0)]))).toEqual([undefined, undefined]);
      expect(textOf(await store.read("sesn_d33", [blob(0), ids(0)]))).toEqual(["x", "y"]);
    });
  });
}
