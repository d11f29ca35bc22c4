import { applyStreams, connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { startNatsServer } from "@manyhands/testkit";
import { createJetStreamSideStore } from "./jetstream-side-store.ts";
import { sideStoreContract } from "./side-store.contract.ts";

sideStoreContract("JetStream", async () => {
  const server = await startNatsServer();
  const bus = await connectBus({ url: server.url, name: "contract", logger: silentLogger() });
  await applyStreams(bus, { replicas: 1, streams: ["MH_BLOBS"] });
  const store = createJetStreamSideStore(bus);
  return {
    store,
    async close() {
      store.close();
      await bus.close();
      await server.stop();
    },
  };
});
