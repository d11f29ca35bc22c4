import { randomBytes } from "node:crypto";
import { Secret } from "@manyhands/kit";
import { describe, expect, it } from "vitest";
import { keyEncryptionKey } from "../crypto/envelope.ts";
import { DERIVED_LIMITS, type DerivedDocument, derivedTokenStore } from "./derived-token-store.ts";
import { decodeJson, encodeJson } from "./json.ts";
import { memoryKv } from "./memory-kv.ts";
import { rotateKeys } from "./rotate-keys.ts";

const kek = keyEncryptionKey(randomBytes(32));
const clockAt = (nowMs = 1_000_000) => {
  const clock = { now: nowMs, nowMs: () => clock.now };
  return clock;
};
const token = (placeholder: string, value = `value of ${placeholder}`, credentials = ["vcrd_1"]) => ({
  placeholder,
  value: new Secret(value),
  credentials,
});
const shown = (tokens: readonly ReturnType<typeof token>[] | readonly { placeholder: string; value: Secret }[]) =>
  tokens.map(({ placeholder, value }) => [placeholder, value.reveal()]);

describe("derived tokens", () => {
  it("are there for another replica and after a restart, and for no other session or workspace", async () => {
    const kv = memoryKv();
    await derivedTokenStore(kv, kek, clockAt()).keep("sesn_a", "w", token("mhdt_1"));
    const other = derivedTokenStore(kv, kek, clockAt());
    expect(shown(await other.list("sesn_a", "w"))).toEqual([["mhdt_1", "value of mhdt_1"]]);
    expect(await other.list("sesn_b", "w")).toEqual([]);
    expect(await other.list("sesn_a", "elsewhere")).toEqual([]);
    for (const key of await kv.keys("")) {
      expect(Buffer.from((await kv.get(key))?.value ?? []).toString()).not.toContain("value of");
    }
  });

  it("kept twice may go only where both exchanges' credentials may", async () => {
    const store = derivedTokenStore(memoryKv(), kek, clockAt());
    await store.keep("sesn_a", "w", token("mhdt_1", "t", ["vcrd_2"]));
    await store.keep("sesn_a", "w", token("mhdt_1", "t", ["vcrd_1"]));
    expect(await store.list("sesn_a", "w")).toMatchObject([{ credentials: ["vcrd_1", "vcrd_2"] }]);
  });

  it("are bounded in number, size and life", async () => {
    const clock = clockAt();
    const store = derivedTokenStore(memoryKv(), kek, clock);
    for (let n = 0; n < DERIVED_LIMITS.tokens + 5; n += 1) await store.keep("sesn_a", "w", token(`mhdt_${n}`));
    const all = await store.list("sesn_a", "w");
    expect(all).toHaveLength(DERIVED_LIMITS.tokens);
    expect(all.at(-1)?.placeholder).toBe(`mhdt_${DERIVED_LIMITS.tokens + 4}`);
    for (let n = 0; n < 20; n += 1) {
      await store.keep("sesn_a", "w", token(`mhdt_long${n}`, "x".repeat(DERIVED_LIMITS.tokenChars)));
    }
    expect(await store.list("sesn_a", "w")).toHaveLength(DERIVED_LIMITS.allChars / DERIVED_LIMITS.tokenChars);
    clock.now += DERIVED_LIMITS.keptMs;
    expect(await store.list("sesn_a", "w")).toEqual([]);
  });

  it("do not open in another session, as another placeholder or for other credentials", async () => {
    const kv = memoryKv();
    const store = derivedTokenStore(kv, kek, clockAt());
    await store.keep("sesn_a", "w", token("mhdt_1"));
    const entry = await kv.get("derived.sesn_a");
    const document = decodeJson<DerivedDocument>(entry?.value ?? new Uint8Array());
    const altered = (change: object) => ({
      ...document,
      tokens: document.tokens.map((one) => ({ ...one, ...change })),
    });
    await kv.create("derived.sesn_b", encodeJson(document));
    await kv.create("derived.sesn_c", encodeJson(altered({ credentials: ["vcrd_2"] })));
    await kv.create("derived.sesn_d", encodeJson(altered({ placeholder: "mhdt_2" })));
    for (const session of ["sesn_b", "sesn_c", "sesn_d"]) {
      await expect(store.list(session, "w"), session).rejects.toThrow("belongs elsewhere");
    }
    expect(await store.list("sesn_a", "w"), "control").toHaveLength(1);
  });

  it("are sealed anew with a new key, and purged with their session", async () => {
    const kv = memoryKv();
    await derivedTokenStore(kv, kek, clockAt()).keep("sesn_a", "w", token("mhdt_1"));
    const next = keyEncryptionKey(randomBytes(32));
    const options = { verifyOnly: false, signal: new AbortController().signal };
    const rotation = await rotateKeys({ secrets: kv, sessions: memoryKv() }, { ...next, older: [kek] }, options);
    expect(rotation).toMatchObject({ resealed: 1, unreadable: 0 });
    const store = derivedTokenStore(kv, next, clockAt());
    expect(shown(await store.list("sesn_a", "w"))).toEqual([["mhdt_1", "value of mhdt_1"]]);
    await store.purge("sesn_a");
    expect(await kv.keys("")).toEqual([]);
  });
});
