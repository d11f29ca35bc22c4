import { silentLogger } from "@manyhands/kit";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answerOffers, applyStreams, type Bus, connectBus, consumeWakes, publishWake, type Wake } from "./index.ts";

const ackWaitMs = 300;
let server: NatsServer;
let bus: Bus;
let other: Bus;

const connectTo = (name: string) => connectBus({ url: server.url, name, logger: silentLogger() });

beforeAll(async () => {
  server = await startNatsServer();
  [bus, other] = await Promise.all([connectTo("one"), connectTo("other")]);
  await applyStreams(bus, { replicas: 1, streams: ["MH_WAKE"] });
});

afterAll(async () => {
  await Promise.all([bus.close(), other.close()]);
  await server.stop();
});

/** Publishes a wake, lets a consumer offer it to others, and gives the answer. */
async function offered(kind: string, sessionId: string) {
  const deliveries: Wake[] = [];
  const passed = Promise.withResolvers<boolean>();
  await publishWake(bus, { kind, sessionId });
  const consumer = await consumeWakes(bus, {
    kind,
    concurrency: 1,
    ackWaitMs,
    handle: async (wake) => {
      deliveries.push(wake);
      passed.resolve(await wake.pass());
    },
  });
  return { passed: await passed.promise, deliveries, consumer };
}

describe("a wake that is offered", () => {
  it("is held and settled by the process that takes it, and delivered to nobody else meanwhile", async () => {
    const taken: Wake[] = [];
    const held = Promise.withResolvers<void>();
    const stop = answerOffers(other, "sesn_p", {
      ackWaitMs,
      wants: () => true,
      take: (wake) => {
        taken.push(wake);
        return held.promise;
      },
    });
    await other.connection.flush();
    const { passed, deliveries, consumer } = await offered("k-pass", "sesn_p");
    expect(passed).toBe(true);
    await eventually(() => taken.length === 1);
    expect(taken[0]).toMatchObject({ kind: "k-pass", sessionId: "sesn_p", delivery: 1 });
    const since = performance.now();
    await eventually(() => performance.now() - since > ackWaitMs * 3, { everyMs: 50 });
    expect(deliveries).toHaveLength(1);
    expect(await publishWake(bus, { kind: "k-pass", sessionId: "sesn_p" })).toBe("pending");
    held.resolve();
    await eventually(async () => (await publishWake(bus, { kind: "k-pass", sessionId: "sesn_p" })) === "published");
    stop();
    await consumer.stop();
  });

  it("comes again when the process that took it gives it back", async () => {
    let givenBack = 0;
    const stop = answerOffers(other, "sesn_b", {
      ackWaitMs,
      wants: () => givenBack === 0,
      take: async (wake) => {
        givenBack += 1;
        await wake.release();
      },
    });
    await other.connection.flush();
    const { passed, deliveries, consumer } = await offered("k-back", "sesn_b");
    expect(passed).toBe(true);
    await eventually(() => deliveries.length === 2);
    expect(deliveries[1]?.delivery).toBe(2);
    stop();
    await consumer.stop();
  });

  it("stays where it is when nobody wants it, nobody listens, or it is settled", async () => {
    const stop = answerOffers(other, "sesn_n", { ackWaitMs, wants: () => false, take: () => Promise.resolve() });
    await other.connection.flush();
    const unwanted = await offered("k-no", "sesn_n");
    expect(unwanted.passed).toBe(false);
    const unheard = await offered("k-none", "sesn_none");
    expect(unheard.passed).toBe(false);
    expect(await unheard.deliveries[0]?.pass()).toBe(false);
    stop();
    await Promise.all([unwanted.consumer.stop(), unheard.consumer.stop()]);
  });

  it("is nothing but a wake: other words are refused", async () => {
    let taken = 0;
    const stop = answerOffers(other, "sesn_x", {
      ackWaitMs,
      wants: () => true,
      take: async () => {
        taken += 1;
      },
    });
    await other.connection.flush();
    const ticket = "$JS.ACK.MH_LOG.someone.1.1.1.1.0";
    for (const words of ["", "[]", "no json", JSON.stringify({ kind: "k", delivery: 1, ticket })]) {
      const answer = await bus.connection.request("mh.offer.sesn_x", words, { timeout: 5_000 });
      expect(answer.string()).toBe("-");
    }
    expect(taken).toBe(0);
    stop();
  });
});
