import { describe, expect, test } from "vitest";
import { AppError, type ErrorKind } from "./errors.ts";
import { createLogger } from "./logger.ts";
import { failureOfCall, startEcho } from "./testing/echo.ts";

const CASES: readonly [ErrorKind, AppError][] = [
  [
    "invalid",
    AppError.invalid([
      { field: "events[0].type", description: "must be known" },
      { field: "b", description: "is required" },
    ]),
  ],
  ["unauthenticated", AppError.unauthenticated("who are you")],
  ["denied", AppError.denied("NOT_YOURS", "not yours")],
  ["notFound", AppError.notFound("session", "sesn_1")],
  ["conflict", AppError.conflict("HEAD_MOVED", "the head moved", { head: "12" })],
  ["fenced", AppError.fenced("epoch 4 has it", { epoch: "4" })],
  ["exhausted", AppError.exhausted("TOO_MANY", "too many", 1500)],
  ["exhausted", AppError.exhausted("TOO_BIG", "too big")],
  ["unavailable", AppError.unavailable("BUS_DOWN", "the bus does not answer")],
  ["deadline", AppError.deadline("too late")],
  ["cancelled", AppError.cancelled("stopped")],
  ["unimplemented", AppError.unimplemented("not served yet")],
];

describe("an AppError survives the wire", () => {
  test.each(CASES)("%s: kind, reason, message, details and retry hint come back", async (kind, thrown) => {
    await using bed = await startEcho({
      async echoOnce() {
        throw thrown;
      },
      // biome-ignore lint/correctness/useYield: a stream that fails before its first value
      async *echoMany() {
        throw thrown;
      },
    });
    const errors = [
      await failureOfCall(bed.client.echoOnce({})),
      await failureOfCall(Promise.resolve(bed.client.echoMany({})[Symbol.asyncIterator]().next())),
    ];
    for (const error of errors) {
      expect(error.kind).toBe(kind);
      expect(error.reason).toBe(thrown.reason);
      expect(error.message).toBe(thrown.message);
      expect(error.details).toEqual(thrown.details);
      expect(error.retry).toEqual(thrown.retry);
    }
  });

  test("values before the error still arrive", async () => {
    await using bed = await startEcho({
      async *echoMany() {
        yield { index: 0 };
        yield { index: 1 };
        throw AppError.conflict("LATER", "later");
      },
    });
    const seen: number[] = [];
    const read = async () => {
      for await (const { index } of bed.client.echoMany({})) {
        seen.push(index);
      }
    };
    expect((await failureOfCall(read())).reason).toBe("LATER");
    expect(seen).toEqual([0, 1]);
  });

  test("a foreign error becomes INTERNAL with an id that the log has too, and nothing of it is told", async () => {
    const lines: string[] = [];
    const logger = createLogger({ service: "test", destination: { write: (line) => void lines.push(line) } });
    await using bed = await startEcho(
      {
        async echoOnce() {
          throw new TypeError("cannot read canary-4711 of undefined");
        },
      },
      { logger },
    );
    const error = await failureOfCall(bed.client.echoOnce({}));
    expect(error.kind).toBe("internal");
    expect(error.message).toMatch(/^internal error err_/);
    expect(JSON.stringify(error) + error.message).not.toContain("canary-4711");
    const id = error.details.metadata?.error_id;
    const line = lines.find((text) => text.includes(String(id)));
    expect(line).toContain("cannot read canary-4711");
    expect(line).toContain('"request_id"');
  });

  test("a request above 8 MiB is refused as exhausted and the server stays up", async () => {
    await using bed = await startEcho();
    const error = await failureOfCall(bed.client.echoOnce({ payload: new Uint8Array(9 * 1024 * 1024) }));
    expect(error.kind).toBe("exhausted");
    expect((await bed.client.echoOnce({ text: "still here" })).text).toBe("still here");
  });

  test("only methods listed as reads are sent again when the peer is unavailable", async () => {
    const counts = { read: 0, write: 0 };
    await using bed = await startEcho({
      async echoOnce() {
        counts.read += 1;
        if (counts.read < 3) {
          throw AppError.unavailable("NOT_NOW", "not now");
        }
        return { text: "now" };
      },
      async echoJoined() {
        counts.write += 1;
        throw AppError.unavailable("NOT_NOW", "not now");
      },
    });
    expect((await bed.client.echoOnce({})).text).toBe("now");
    expect((await failureOfCall(bed.client.echoJoined((async function* () {})()))).reason).toBe("NOT_NOW");
    expect(counts).toEqual({ read: 3, write: 1 });
  });
});
