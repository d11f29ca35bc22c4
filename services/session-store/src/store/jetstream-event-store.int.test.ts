import { applyStreams, connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { startNatsServer } from "@manyhands/testkit";
import { eventStoreContract } from "./event-store.contract.ts";
import { createJetStreamEventStore } from "./jetstream-event-store.ts";

eventStoreContract("JetStream", async () => {
  const server = await startNatsServer({ syncAlways: true });
  const bus = await connectBus({ url: server.url, name: "contract", logger: silentLogger() });
  await applyStreams(bus, { replicas: 1, streams: ["MH_LOG"] });
  const store = createJetStreamEventStore(bus);
  return {
    store,
    async close() {
      store.close();
      await bus.close();
      await server.stop();
    },
  };
});
