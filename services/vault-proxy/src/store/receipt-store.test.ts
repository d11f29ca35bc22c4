import { expect, it } from "vitest";
import { memoryKv } from "./memory-kv.ts";
import { type HeldReceipt, isHeld, type Receipt, receiptStore } from "./receipt-store.ts";

const LEASE_MS = 1000;
const ref = { session: "sesn_1", operation: "sevt_1" };
const done = { outcome: "COMPLETED", content: [], isError: false } as const;

function twoReplicas() {
  const kv = memoryKv();
  const time = { ms: 1_000_000 };
  const clock = { nowMs: () => time.ms };
  const of = (owner: string) => receiptStore(kv, owner, LEASE_MS, clock);
  const pass = (ms: number) => {
    time.ms += ms;
  };
  return { a: of("a"), b: of("b"), pass, keys: () => kv.keys("") };
}

function held(taken: HeldReceipt | Receipt): HeldReceipt {
  if (!isHeld(taken)) throw new Error("the receipt is another's");
  return taken;
}

it("given a living owner, nobody else may send, and everybody sees its end", async () => {
  const { a, b, pass } = twoReplicas();
  const mine = held(await a.take(ref, "d"));
  expect(await b.take(ref, "d")).toMatchObject({ owner: "a" });
  await mine.sending();
  pass(LEASE_MS - 1);
  expect(await mine.renew()).toBe(false);
  pass(LEASE_MS - 1);
  expect(isHeld(await b.take(ref, "d"))).toBe(false);
  await mine.end(done);
  expect(await b.take(ref, "d")).toMatchObject({ end: done });
});

it("given an owner that died before it sent, the next one sends, and the dead one never can again", async () => {
  const { a, b, pass } = twoReplicas();
  const dead = held(await a.take(ref, "d"));
  pass(LEASE_MS + 1);
  const next = held(await b.take(ref, "d"));
  await expect(dead.sending()).rejects.toMatchObject({ reason: "RECEIPT_LOST" });
  expect(await dead.renew()).toBe(true);
  await next.sending();
  await dead.end({ ...done, outcome: "NOT_STARTED" });
  await next.end(done);
  expect(await a.take(ref, "d")).toMatchObject({ end: done });
});

it("given an owner that died after it sent, the outcome is unknown, unless it was only slow", async () => {
  const { a, b, pass } = twoReplicas();
  const slow = held(await a.take(ref, "d"));
  await slow.sending();
  pass(LEASE_MS + 1);
  expect(await b.take(ref, "d")).toMatchObject({ end: { outcome: "UNKNOWN" } });
  await slow.end(done);
  expect(await b.take(ref, "d")).toMatchObject({ end: done });
});

it("given a server that is proved to have done nothing, the call may be taken over again", async () => {
  const { a, b, pass } = twoReplicas();
  const mine = held(await a.take(ref, "d"));
  await mine.sending();
  await mine.notReached();
  pass(LEASE_MS + 1);
  expect(isHeld(await b.take(ref, "d"))).toBe(true);
});

it("tells the owner that it shall stop, refuses another call's id, and goes with its session", async () => {
  const { a, b } = twoReplicas();
  const mine = held(await a.take(ref, "d"));
  await b.cancel(ref);
  expect(await mine.renew()).toBe(true);
  await expect(b.take(ref, "another")).rejects.toMatchObject({ reason: "OPERATION_CONFLICT" });
  await b.cancel({ ...ref, operation: "sevt_none" });
  await b.purge(ref.session);
  await expect(mine.end(done)).rejects.toMatchObject({ kind: "notFound" });
  expect(isHeld(await b.take(ref, "another"))).toBe(true);
});

it("tells an end that is too long for one value whole, on every replica, and leaves nothing of it behind", async () => {
  const { a, b, keys } = twoReplicas();
  const long = { ...done, content: [{ type: "text" as const, text: "é".repeat(1_500_000) }] };
  const mine = held(await a.take(ref, "d"));
  await mine.sending();
  expect((await mine.end(long)).end).toEqual(long);
  expect(await b.take(ref, "d")).toMatchObject({ end: long });
  expect((await mine.end({ ...long, content: [] })).end).toEqual(long);
  expect((await keys()).length).toBeGreaterThan(10);
  await b.purge(ref.session);
  expect(await keys()).toEqual([]);
});

it("leaves nothing of a long end behind that came after the session's", async () => {
  const { a, keys } = twoReplicas();
  const mine = held(await a.take(ref, "d"));
  await mine.sending();
  await a.purge(ref.session);
  const long = { ...done, content: [{ type: "text" as const, text: "x".repeat(600_000) }] };
  await expect(mine.end(long)).rejects.toMatchObject({ kind: "notFound" });
  expect(await keys()).toEqual([]);
});
