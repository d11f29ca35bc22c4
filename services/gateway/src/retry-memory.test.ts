import { expect, test } from "vitest";
import { createRetryMemory } from "./retry-memory.ts";

const mark = { scope: "key_1 POST /v1/sessions/sesn_1/events", body: "{}", idempotencyKey: undefined, retryCount: 0 };

test("two equal requests that are no retries stay two", () => {
  const memory = createRetryMemory();
  expect(memory.identify(mark).requestId).not.toBe(memory.identify(mark).requestId);
});

test("a retry has the id of the newest equal request, within the window", () => {
  let now = 0;
  const memory = createRetryMemory(() => now);
  const first = memory.identify(mark);
  now = 14 * 60_000;
  expect(memory.identify({ ...mark, retryCount: 1 })).toMatchObject({
    requestId: first.requestId,
    repeated: true,
    orphanRetry: false,
  });
  now = 15 * 60_000;
  expect(memory.identify({ ...mark, retryCount: 2 })).toMatchObject({ repeated: false, orphanRetry: true });
});

test("the retry of a request that never arrived is not taken for one of an older, answered, equal request", () => {
  let now = 0;
  const memory = createRetryMemory(() => now);
  memory.identify(mark).settled();
  now = 9_999;
  expect(memory.identify({ ...mark, retryCount: 1 }).repeated).toBe(true);
  now = 10_000;
  expect(memory.identify({ ...mark, retryCount: 1 })).toMatchObject({ repeated: false, orphanRetry: true });
});

test("another caller, path or body is another request", () => {
  const memory = createRetryMemory();
  memory.identify(mark);
  for (const other of [{ scope: "key_2 POST /v1/sessions/sesn_1/events" }, { body: "{ }" }]) {
    expect(memory.identify({ ...mark, ...other, retryCount: 1 }).orphanRetry).toBe(true);
  }
});

test("an Idempotency-Key gives the same id on every replica, and another one for another caller", () => {
  const keyed = { ...mark, idempotencyKey: "order-7" };
  const id = createRetryMemory().identify(keyed).requestId;
  expect(createRetryMemory().identify({ ...keyed, body: "other" }).requestId).toBe(id);
  expect(createRetryMemory().identify({ ...keyed, scope: "key_2 POST /" }).requestId).not.toBe(id);
});

test("the memory is bounded: the oldest is forgotten", () => {
  const memory = createRetryMemory();
  memory.identify(mark);
  for (let index = 0; index < 10_000; index += 1) memory.identify({ ...mark, body: String(index) });
  expect(memory.identify({ ...mark, retryCount: 1 }).orphanRetry).toBe(true);
  expect(memory.identify({ ...mark, body: "9999", retryCount: 1 }).repeated).toBe(true);
});
