import { eventually } from "@manyhands/testkit";
import { describe, expect, test } from "vitest";
import { AppError } from "./errors.ts";
import { EchoService } from "./gen/manyhands/testing/v1/echo_service_pb.ts";
import { createRpcClient } from "./rpc-client.ts";
import { forwardCall } from "./rpc-forward.ts";
import type { RpcContext } from "./rpc-types.ts";
import { collect, failureOfCall, gate, startEcho } from "./testing/echo.ts";

/** Resolves with the reason when the context's signal aborts. */
function abortOf(context: RpcContext): Promise<AppError> {
  return new Promise((resolve) => {
    context.signal.addEventListener("abort", () => resolve(context.signal.reason), { once: true });
  });
}

describe("cancellation", () => {
  test("the caller's abort of a unary call reaches the handler's signal", async () => {
    const seen = Promise.withResolvers<AppError>();
    const entered = gate();
    await using bed = await startEcho({
      async echoOnce(_request, context) {
        entered.open();
        seen.resolve(await abortOf(context));
        return {};
      },
    });
    const controller = new AbortController();
    const call = failureOfCall(bed.client.echoOnce({}, { signal: controller.signal }));
    await entered.opened;
    controller.abort();
    expect((await call).kind).toBe("cancelled");
    expect((await seen.promise).kind).toBe("cancelled");
  });

  test("an abort reason that is an AppError is what the caller gets", async () => {
    await using bed = await startEcho();
    const controller = new AbortController();
    controller.abort(AppError.unavailable("GOING", "we are going"));
    const error = await failureOfCall(bed.client.echoOnce({}, { signal: controller.signal }));
    expect(error.reason).toBe("GOING");
  });

  test("leaving a server stream early ends the handler's generator", async () => {
    const ended = gate();
    await using bed = await startEcho({
      async *echoMany() {
        try {
          for (let index = 0; ; index += 1) {
            yield { index };
          }
        } finally {
          ended.open();
        }
      },
    });
    for await (const { index } of bed.client.echoMany({})) {
      if (index === 3) {
        break;
      }
    }
    await ended.opened;
  });

  test("a server stream whose handler is stuck still ends when the caller aborts", async () => {
    const seen = Promise.withResolvers<AppError>();
    await using bed = await startEcho({
      async *echoMany(_request, context) {
        void abortOf(context).then(seen.resolve);
        yield { index: 0 };
        await new Promise(() => {});
      },
    });
    const controller = new AbortController();
    const iterator = bed.client.echoMany({}, { signal: controller.signal })[Symbol.asyncIterator]();
    await iterator.next();
    controller.abort();
    expect((await failureOfCall(Promise.resolve(iterator.next()))).kind).toBe("cancelled");
    expect((await seen.promise).kind).toBe("cancelled");
  });

  test("a source of requests that fails cancels the call and its error comes back", async () => {
    const seen = Promise.withResolvers<AppError>();
    const entered = gate();
    await using bed = await startEcho({
      async echoJoined(requests, context) {
        void abortOf(context).then(seen.resolve);
        entered.open();
        for await (const _request of requests) {
          // Reads until the caller goes away.
        }
        return {};
      },
    });
    async function* broken() {
      yield { text: "one" };
      await entered.opened;
      throw AppError.conflict("SOURCE_BROKE", "the source broke");
    }
    expect((await failureOfCall(bed.client.echoJoined(broken()))).reason).toBe("SOURCE_BROKE");
    expect((await seen.promise).kind).toBe("cancelled");
  });

  test("a source of requests is ended when the server answers first", async () => {
    const ended = gate();
    await using bed = await startEcho({
      async echoJoined(requests) {
        for await (const request of requests) {
          return { text: request.text };
        }
        return {};
      },
    });
    async function* endless() {
      try {
        for (;;) {
          yield { text: "again" };
          await new Promise(setImmediate);
        }
      } finally {
        ended.open();
      }
    }
    expect((await bed.client.echoJoined(endless())).text).toBe("again");
    await ended.opened;
  });
});

describe("deadlines", () => {
  test("the default deadline of the client ends a call, and the handler's signal says why", async () => {
    const seen = Promise.withResolvers<RpcContext>();
    await using bed = await startEcho({
      async echoOnce(_request, context) {
        seen.resolve(context);
        await abortOf(context);
        return {};
      },
    });
    const client = createRpcClient(EchoService, { address: bed.address, defaultDeadlineMs: 80 });
    const error = await failureOfCall(client.echoOnce({}));
    client.close();
    expect(error.kind).toBe("deadline");
    const context = await seen.promise;
    await eventually(() => context.signal.aborted);
    expect(context.signal.reason.kind).toBe("deadline");
    expect(context.deadlineMs).toBeGreaterThan(Date.now() - 5000);
  });

  test("a server stream ends at its deadline, with what came before it", async () => {
    await using bed = await startEcho({
      async *echoMany(_request, context) {
        yield { index: 7 };
        await abortOf(context);
      },
    });
    const values: number[] = [];
    const read = async () => {
      for await (const { index } of bed.client.echoMany({}, { deadlineMs: 80 })) {
        values.push(index);
      }
    };
    expect((await failureOfCall(read())).kind).toBe("deadline");
    expect(values).toEqual([7]);
  });

  test("a call without time left is not sent", async () => {
    let calls = 0;
    await using bed = await startEcho({
      async echoOnce() {
        calls += 1;
        return {};
      },
    });
    expect((await failureOfCall(bed.client.echoOnce({}, { deadlineMs: 0 }))).kind).toBe("deadline");
    expect(calls).toBe(0);
  });

  test("a unary call may not wait for ever", async () => {
    await using bed = await startEcho();
    expect((await failureOfCall(bed.client.echoOnce({}, { deadlineMs: Number.POSITIVE_INFINITY }))).kind).toBe(
      "invalid",
    );
  });

  test("a forwarded call keeps request id and trace and gives away 95 % of the time", async () => {
    const seen = Promise.withResolvers<RpcContext>();
    await using bed = await startEcho({
      async echoOnce(_request, context) {
        seen.resolve(context);
        return {};
      },
    });
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    await bed.client.echoOnce({}, { deadlineMs: 10_000, metadata: { "x-request-id": "req_abc", traceparent } });
    const options = forwardCall(await seen.promise);
    expect(options.metadata).toEqual({ "x-request-id": "req_abc", traceparent });
    expect(options.deadlineMs).toBeLessThanOrEqual(9500);
    expect(options.deadlineMs).toBeGreaterThan(8000);
  });

  test("a hostile request id is replaced, not logged", async () => {
    const seen = Promise.withResolvers<RpcContext>();
    await using bed = await startEcho({
      async echoOnce(_request, context) {
        seen.resolve(context);
        return {};
      },
    });
    await bed.client.echoOnce({}, { metadata: { "x-request-id": `a b ${"x".repeat(300)}` } });
    expect((await seen.promise).requestId).toMatch(/^req_/);
  });
});

describe("shutdown", () => {
  test("streams end at once as unavailable, a running unary call may finish, then nothing listens", async () => {
    const started = gate();
    const mayFinish = gate();
    await using bed = await startEcho(
      {
        async echoOnce() {
          started.open();
          await mayFinish.opened;
          return { text: "finished" };
        },
        async *echoMany(_request, context) {
          yield { index: 0 };
          await abortOf(context);
        },
      },
      { drainMs: 5000 },
    );
    const stream = bed.client.echoMany({})[Symbol.asyncIterator]();
    await stream.next();
    const unary = bed.client.echoOnce({});
    await started.opened;
    const stopped = bed.lifecycle.stop("test");
    const error = await failureOfCall(Promise.resolve(stream.next()));
    expect([error.kind, error.reason, error.retry]).toEqual(["unavailable", "SHUTTING_DOWN", "now"]);
    mayFinish.open();
    expect((await unary).text).toBe("finished");
    expect((await stopped).failed).toEqual([]);
    expect((await failureOfCall(collect(bed.client.echoMany({ count: 1 })))).kind).toBe("unavailable");
  });

  test("a unary handler that never ends is ended at the drain deadline", async () => {
    const started = gate();
    await using bed = await startEcho(
      {
        echoOnce() {
          started.open();
          return new Promise(() => {});
        },
      },
      { drainMs: 100 },
    );
    const unary = failureOfCall(bed.client.echoOnce({}, { deadlineMs: 20_000 }));
    await started.opened;
    const report = await bed.lifecycle.stop("test");
    expect(report.failed).toEqual([]);
    expect((await unary).kind).toBe("unavailable");
  });
});
