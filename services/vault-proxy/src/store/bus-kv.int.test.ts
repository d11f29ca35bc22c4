import { applyStreams, type Bus, connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { busKv } from "./bus-kv.ts";
import { kvContract } from "./kv.contract.ts";

let server: NatsServer;
const buses: Bus[] = [];
const open = async () => {
  const bus = await connectBus({ url: server.url, name: "test", logger: silentLogger() });
  buses.push(bus);
  return busKv(bus, "MH_VAULT_SECRETS");
};

beforeAll(async () => {
  server = await startNatsServer();
  const bus = await connectBus({ url: server.url, name: "setup", logger: silentLogger() });
  buses.push(bus);
  await applyStreams(bus, { replicas: 1, streams: ["KV_MH_VAULT_SECRETS"] });
});
afterAll(async () => {
  await Promise.all(buses.map((bus) => bus.close()));
  await server?.stop();
});

kvContract("NATS", open);

it("K3 holds no older version of a value: one message per key", async () => {
  const kv = await open();
  const first = (await kv.create("purged.key", new TextEncoder().encode("first-value"))) ?? 0;
  await kv.update("purged.key", new TextEncoder().encode("second-value"), first);
  await kv.purge("purged.key");
  const info = await fetch(`${server.monitorUrl}/jsz?streams=true&config=true`);
  expect(await info.text()).toMatch(/"name":\s*"KV_MH_VAULT_SECRETS"[\s\S]*?"max_msgs_per_subject":\s*1\b/);
});
