import { eventually } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import type { Kv, KvChange } from "./kv.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined) => (value ? new TextDecoder().decode(value) : undefined);

/** What every bucket promises; `open` gives the same bucket each time, as another replica would see it. */
export function kvContract(name: string, open: () => Promise<Kv>): void {
  let count = 0;
  const freshKey = () => {
    count += 1;
    return `test.${process.pid}.k${count}`;
  };

  describe(`key-value contract: ${name}`, () => {
    it("gives nothing for a key that is not there", async () => {
      expect(await (await open()).get(freshKey())).toBeUndefined();
    });

    it("K1 creates a key once, whoever else tries", async () => {
      const kv = await open();
      const key = freshKey();
      const results = await Promise.all(Array.from({ length: 10 }, (_, n) => kv.create(key, bytes(`value ${n}`))));
      const winners = results.flatMap((revision, n) => (revision === undefined ? [] : [n]));
      expect(winners).toHaveLength(1);
      const entry = await kv.get(key);
      expect(text(entry?.value)).toBe(`value ${winners[0]}`);
      expect(entry?.revision).toBe(results[winners[0] ?? -1]);
    });

    it("K2 updates only the revision that was read", async () => {
      const kv = await open();
      const key = freshKey();
      const first = (await kv.create(key, bytes("one"))) ?? 0;
      const second = await kv.update(key, bytes("two"), first);
      expect(second).toBeGreaterThan(first);
      expect(await kv.update(key, bytes("three"), first)).toBeUndefined();
      expect(text((await kv.get(key))?.value)).toBe("two");
      expect(await kv.update(freshKey(), bytes("x"), first)).toBeUndefined();
    });

    it("K2 lets exactly one of many updates of one revision through", async () => {
      const kv = await open();
      const key = freshKey();
      const first = (await kv.create(key, bytes("start"))) ?? 0;
      const results = await Promise.all(Array.from({ length: 10 }, (_, n) => kv.update(key, bytes(`${n}`), first)));
      expect(results.filter((revision) => revision !== undefined)).toHaveLength(1);
    });

    it("K3 purges, twice without error, and lets the key be created again", async () => {
      const kv = await open();
      const key = freshKey();
      const first = (await kv.create(key, bytes("gone"))) ?? 0;
      await kv.purge(key);
      await kv.purge(key);
      expect(await kv.get(key)).toBeUndefined();
      expect(await kv.update(key, bytes("no"), first)).toBeUndefined();
      expect(await kv.create(key, bytes("again"))).toBeGreaterThan(first);
      expect(text((await kv.get(key))?.value)).toBe("again");
    });

    it("lists the keys below a prefix of whole tokens and no purged ones", async () => {
      const kv = await open();
      const prefix = `list.p${process.pid}`;
      expect(await kv.keys(prefix)).toEqual([]);
      for (const key of [`${prefix}.a`, `${prefix}.b.c`, `${prefix}x.d`, `${prefix}.e`]) {
        await kv.create(key, bytes("v"));
      }
      await kv.purge(`${prefix}.e`);
      expect((await kv.keys(prefix)).toSorted()).toEqual([`${prefix}.a`, `${prefix}.b.c`]);
      expect(await kv.keys("")).toEqual(expect.arrayContaining([`${prefix}.a`, `${prefix}x.d`]));
    });

    it("K4 tells a watcher every change made after it was armed, and nothing after its end", async () => {
      const kv = await open();
      const other = await open();
      const key = freshKey();
      const ending = new AbortController();
      const seen: KvChange[] = [];
      await kv.watch((change) => void (change.key === key && seen.push(change)), ending.signal);
      const first = (await other.create(key, bytes("one"))) ?? 0;
      await other.update(key, bytes("two"), first);
      await other.purge(key);
      await eventually(() => seen.length >= 3);
      expect(seen.map(({ value }) => text(value))).toEqual(["one", "two", undefined]);
      ending.abort();
      await other.create(key, bytes("after"));
      expect(text((await kv.get(key))?.value)).toBe("after");
      expect(seen).toHaveLength(3);
    });
  });
}
