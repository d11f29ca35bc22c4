import { applyStreams, type Bus, connectBus, openBucket } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { describeHandStore } from "./hand-store.contract.ts";
import { createKvHandStore } from "./kv-hand-store.ts";

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
