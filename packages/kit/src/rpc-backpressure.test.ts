import { eventually } from "@manyhands/testkit";
import { describe, expect, test } from "vitest";
import { gate, startEcho } from "./testing/echo.ts";

const CHUNK_BYTES = 64 * 1024;
/** Queues of both sides (16 messages each) and the HTTP/2 windows: measured below 100 chunks; far below the total. */
const BOUND = 200;
const TOTAL = 2000;
const payload = new Uint8Array(CHUNK_BYTES);

/** Waits until a growing number has stood still for 20 looks in a row. */
async function settled(read: () => number): Promise<number> {
  let last = -1;
  let still = 0;
  await eventually(
    () => {
      still = read() === last ? still + 1 : 0;
      last = read();
      return last > 0 && still >= 20;
    },
    { everyMs: 10, timeoutMs: 10_000 },
  );
  return last;
}

describe("backpressure", () => {
  test("a slow reader of a server stream holds the handler", async () => {
    let produced = 0;
    await using bed = await startEcho({
      async *echoMany() {
        for (; produced < TOTAL; produced += 1) {
          yield { payload };
        }
      },
    });
    const iterator = bed.client.echoMany({})[Symbol.asyncIterator]();
    await iterator.next();
    expect(await settled(() => produced)).toBeLessThan(BOUND);
    let rest = 1;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      rest += 1;
    }
    expect(rest).toBe(TOTAL);
  });

  test("a slow handler of a client stream holds the source", async () => {
    let produced = 0;
    const mayRead = gate();
    await using bed = await startEcho({
      async echoJoined(requests) {
        let index = 0;
        for await (const _request of requests) {
          await mayRead.opened;
          index += 1;
        }
        return { index };
      },
    });
    async function* source() {
      for (; produced < TOTAL; produced += 1) {
        yield { payload };
      }
    }
    const call = bed.client.echoJoined(source(), { deadlineMs: 30_000 });
    expect(await settled(() => produced)).toBeLessThan(BOUND);
    mayRead.open();
    expect((await call).index).toBe(TOTAL);
  });

  test("a slow reader of a bidirectional stream holds the source through the handler", async () => {
    let produced = 0;
    await using bed = await startEcho();
    async function* source() {
      for (; produced < TOTAL; produced += 1) {
        yield { payload };
      }
    }
    const iterator = bed.client.echoEach(source(), { deadlineMs: 30_000 })[Symbol.asyncIterator]();
    await iterator.next();
    expect(await settled(() => produced)).toBeLessThan(BOUND * 2);
    await iterator.return?.();
  });
});
