import { applyStreams, type Bus, connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { startNatsServer } from "@manyhands/testkit";
import { createJetStreamEventStore } from "./jetstream-event-store.ts";
import { logContract } from "./log.contract.ts";

logContract("JetStream", async () => {
  const server = await startNatsServer({ syncAlways: true });
  let serving: { bus: Bus; store: ReturnType<typeof createJetStreamEventStore> };
  const serve = async () => {
    const bus = await connectBus({ url: server.url, name: "contract", logger: silentLogger() });
    await applyStreams(bus, { replicas: 1, streams: ["MH_LOG"] });
    serving = { bus, store: createJetStreamEventStore(bus) };
    return serving.store;
  };
  const stop = async () => {
    serving.store.close();
    await serving.bus.close();
  };
  return {
    store: await serve(),
    async reopen() {
      await server.kill9();
      await stop();
      await server.restart();
      return await serve();
    },
    async close() {
      await stop();
      await server.stop();
    },
  };
});
