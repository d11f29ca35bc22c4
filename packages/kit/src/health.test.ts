import { describe, expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "./gen/grpc/health/v1/health_pb.ts";
import { createRpcClient } from "./rpc-client.ts";
import { failureOfCall, startEcho } from "./testing/echo.ts";

describe("health", () => {
  test("Check and List follow readiness, for the server and each service", async () => {
    await using bed = await startEcho();
    const client = createRpcClient(Health, { address: bed.address, defaultDeadlineMs: 5000 });
    const names = ["", "grpc.health.v1.Health", "manyhands.testing.v1.EchoService"];
    for (const [ready, expected] of [
      [true, ServingStatus.SERVING],
      [false, ServingStatus.NOT_SERVING],
    ] as const) {
      bed.lifecycle.setReady(ready);
      for (const service of names) {
        expect((await client.check({ service })).status).toBe(expected);
      }
      const { statuses } = await client.list({});
      expect(Object.entries(statuses).map(([name, { status }]) => [name, status])).toEqual(
        expect.arrayContaining(names.map((name) => [name, expected])),
      );
    }
    expect((await failureOfCall(client.check({ service: "nobody" }))).kind).toBe("notFound");
    client.close();
  });

  test("Watch tells each change, and SERVICE_UNKNOWN for names it has not got", async () => {
    await using bed = await startEcho();
    const client = createRpcClient(Health, { address: bed.address, defaultDeadlineMs: 5000 });
    const watch = client.watch({ service: "" })[Symbol.asyncIterator]();
    const next = async () => (await watch.next()).value?.status;
    expect(await next()).toBe(ServingStatus.SERVING);
    bed.lifecycle.setReady(false);
    expect(await next()).toBe(ServingStatus.NOT_SERVING);
    bed.lifecycle.setReady(true);
    expect(await next()).toBe(ServingStatus.SERVING);

    const unknown = client.watch({ service: "nobody" })[Symbol.asyncIterator]();
    expect((await unknown.next()).value?.status).toBe(ServingStatus.SERVICE_UNKNOWN);
    const ended = failureOfCall(Promise.resolve(unknown.next()));
    const told = next();
    await bed.lifecycle.stop("test");
    expect(await told).toBe(ServingStatus.NOT_SERVING);
    expect((await ended).reason).toBe("SHUTTING_DOWN");
    client.close();
  });
});
