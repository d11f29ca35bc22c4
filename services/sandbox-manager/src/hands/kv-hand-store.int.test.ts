import { applyStreams, type Bus, connectBus, openBucket } from "@manyhands/bus";
import { newId, silentLogger } from "@manyhands/kit";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { expect, test } from "vitest";
import { describeHandStore, newRecord } from "./hand-store.contract.ts";
import { createKvHandStore } from "./kv-hand-store.ts";
import { leftBehind } from "./moved-hand.ts";

let nats: NatsServer | undefined;
let bus: Bus | undefined;

describeHandStore(
  "key-value bucket",
  async () => {
    nats = await startNatsServer();
    bus = await connectBus({ url: nats.url, name: "contract", logger: silentLogger() });
    await applyStreams(bus, { replicas: 1, streams: ["KV_MH_HANDS"] });
    return createKvHandStore(await openBucket(bus, "MH_HANDS"));
  },
  async () => {
    await bus?.close();
    await nats?.stop();
  },
);

test("a move that was cut off after its first write is finished by whoever looks, once, however many look", async () => {
  const server = await startNatsServer();
  const connection = await connectBus({ url: server.url, name: "cut-off", logger: silentLogger() });
  try {
    await applyStreams(connection, { replicas: 1, streams: ["KV_MH_HANDS"] });
    const store = createKvHandStore(await openBucket(connection, "MH_HANDS"));
    const [from, to] = [newId("sesn"), newId("sesn")];
    const made = await store.write(newRecord({ sessionId: from }), 0);
    const left = made && leftBehind(made.record, { moveId: "move_1", sessionId: to, name: "default", atMs: 5 });
    if (!left || !(await store.write(left, made.revision))) throw new Error("not written");
    // In the same instant the other session made a hand of that name itself: neither of the two is lost.
    const other = newRecord({ sessionId: to });
    await store.write(other, 0);
    const seen = await Promise.all(Array.from({ length: 8 }, () => store.byId(left.handId)));
    const expected = { handId: left.handId, sessionId: to, name: left.handId, state: "ready" };
    for (const found of seen) expect(found?.record).toMatchObject(expected);
    const names = (await store.list(to)).map(({ record }) => record.name).sort();
    expect(names).toEqual(["default", left.handId].sort());
    expect((await store.byId(other.handId))?.record.handId).toBe(other.handId);
  } finally {
    await connection.close();
    await server.stop();
  }
});
