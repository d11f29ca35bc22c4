import { Secret } from "@manyhands/kit";
import { fakeClock } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import { keyEncryptionKey } from "../crypto/envelope.ts";
import { bindingStore } from "../store/binding-store.ts";
import { memoryKv } from "../store/memory-kv.ts";
import { BELIEVE_MS, sessionGuard } from "./session-guard.ts";
import { sessionTokens } from "./session-tokens.ts";

const setUp = async () => {
  const clock = fakeClock();
  const kv = memoryKv();
  const bindings = bindingStore(kv, keyEncryptionKey(new Uint8Array(32)));
  const tokens = sessionTokens({ id: "1", secret: new Secret(Buffer.alloc(32).toString("base64")) }, clock);
  let reads = 0;
  const counted = {
    standing: (session: string) => {
      reads += 1;
      return bindings.standing(session);
    },
  };
  const guard = sessionGuard(tokens, counted, clock);
  const { token } = await tokens.mint({ session: "sesn_1", workspace: "w", audiences: ["model"] }, 3_600_000);
  return { clock, kv, bindings, guard, token, reads: () => reads };
};
const denied = { kind: "denied", reason: "SESSION_REVOKED" };

describe("session guard", () => {
  it("admits without a read each time, for at most half a second", async () => {
    const { guard, token, clock, reads } = await setUp();
    await guard.admit(token, "model");
    await guard.admit(token, "model");
    expect(reads()).toBe(1);
    await clock.advance(BELIEVE_MS);
    await guard.admit(token, "model");
    expect(reads()).toBe(2);
  });

  it("G2 refuses within that time after a revocation, though no watch tells it", async () => {
    const { guard, token, clock, bindings } = await setUp();
    await guard.admit(token, "model");
    await bindings.revoke("sesn_1", clock.nowMs());
    await clock.advance(BELIEVE_MS);
    await expect(guard.admit(token, "model")).rejects.toMatchObject(denied);
  });

  it("refuses at once when the watch tells it, and ends what runs", async () => {
    const { guard, token, clock, bindings, kv } = await setUp();
    await guard.follow(kv, new AbortController().signal);
    await guard.admit(token, "model");
    const ended = new Promise<void>((resolve) => void guard.onRevoked("sesn_1", resolve));
    await bindings.revoke("sesn_1", clock.nowMs());
    await ended;
    await expect(guard.admit(token, "model")).rejects.toMatchObject(denied);
  });

  it("G1 stays refused for good", async () => {
    const { guard, token, clock, kv, bindings } = await setUp();
    await bindings.revoke("sesn_1", clock.nowMs());
    await expect(guard.admit(token, "model")).rejects.toMatchObject(denied);
    await kv.purge("sesn_1");
    await clock.advance(60_000);
    await expect(guard.admit(token, "model")).rejects.toMatchObject(denied);
  });

  it("G3 lets nobody through when the store does not answer", async () => {
    const { clock, token } = await setUp();
    const broken = { standing: () => Promise.reject(new Error("the store is away")) };
    const tokens = sessionTokens({ id: "1", secret: new Secret(Buffer.alloc(32).toString("base64")) }, clock);
    await expect(sessionGuard(tokens, broken, clock).admit(token, "model")).rejects.toThrow("the store is away");
  });

  it("does not call a listener that stopped listening", async () => {
    const { guard } = await setUp();
    let called = false;
    guard.onRevoked("sesn_1", () => {
      called = true;
    })();
    guard.ended("sesn_1");
    expect(called).toBe(false);
  });
});
