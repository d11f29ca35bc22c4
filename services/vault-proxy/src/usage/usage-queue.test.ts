import { AppError, createLifecycle, silentLogger } from "@manyhands/kit";
import { eventually } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import type { Usage, UsageWriter } from "./usage.ts";
import { usageQueue } from "./usage-queue.ts";

const usage = (id: string): Usage => ({
  id,
  proxy: "git",
  session: "sesn_1",
  workspace: "w",
  tokenId: "mst_1",
  credentialId: "session_resource",
  host: "h",
  method: "GET",
  path: "/",
  status: 200,
  requestBytes: 0,
  responseBytes: 0,
  outcome: "served",
  atMs: 0,
});

const setUp = (writer: UsageWriter, bounds: { capacity?: number; concurrency?: number } = {}) => {
  const logger = silentLogger();
  const lifecycle = createLifecycle({ logger, drainMs: 1000 });
  return { lifecycle, queue: usageQueue(writer, { name: "test", logger, lifecycle, ...bounds }) };
};

describe("queue of uses", () => {
  it("never makes its caller wait, drops what is too much and counts it", async () => {
    const written: string[] = [];
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const writer: UsageWriter = {
      async write({ id }) {
        await gate;
        written.push(id);
      },
    };
    const { queue } = setUp(writer, { capacity: 3, concurrency: 2 });
    for (const id of ["1", "2", "3", "4", "5", "6", "7"]) {
      queue.record(usage(id));
    }
    expect(written).toEqual([]);
    expect(queue.dropped).toBe(2);
    release();
    await eventually(() => written.length === 5);
    expect(written).toEqual(["1", "2", "3", "4", "5"]);
  });

  it("tries again under the same id when the store is away, and gives up on what cannot be repaired", async () => {
    const attempts: string[] = [];
    const writer: UsageWriter = {
      async write({ id }) {
        attempts.push(id);
        if (id === "away" && attempts.length < 3) {
          throw AppError.unavailable("AWAY", "away");
        }
        if (id === "bad") {
          throw AppError.notFound("session", "sesn_1");
        }
      },
    };
    const { queue } = setUp(writer, { concurrency: 1 });
    queue.record(usage("away"));
    queue.record(usage("bad"));
    queue.record(usage("good"));
    await eventually(() => attempts.includes("good"));
    expect(attempts).toEqual(["away", "away", "away", "bad", "good"]);
    expect(queue.dropped).toBe(1);
  });

  it("writes what waits before the service ends", async () => {
    const written: string[] = [];
    const writer: UsageWriter = {
      async write({ id }) {
        await new Promise(setImmediate);
        written.push(id);
      },
    };
    const { queue, lifecycle } = setUp(writer, { concurrency: 1 });
    for (let n = 0; n < 20; n += 1) {
      queue.record(usage(String(n)));
    }
    await lifecycle.stop("test");
    expect(written).toHaveLength(20);
  });
});
