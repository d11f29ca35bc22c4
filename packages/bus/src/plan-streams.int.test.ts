import { silentLogger } from "@manyhands/kit";
import { startNatsServer } from "@manyhands/testkit";
import { jetstreamManager } from "@nats-io/jetstream";
import { expect, it } from "vitest";
import { checkStreams, connectBus, diffStreams, updateStreams } from "./index.ts";

const options = { replicas: 1, streams: ["MH_LOG", "MH_WAKE", "KV_MH_HANDS"] as const };

it("tells what is missing and what differs, makes it as declared, and leaves what is stored", async () => {
  const server = await startNatsServer();
  const bus = await connectBus({ url: server.url, name: "test", logger: silentLogger() });
  try {
    const states = async () => (await diffStreams(bus, options)).map((plan) => plan.state);
    expect(await states()).toEqual(["missing", "missing", "missing"]);
    expect((await updateStreams(bus, options)).map((plan) => plan.state)).toEqual(["missing", "missing", "missing"]);
    const manager = await jetstreamManager(bus.connection);
    await manager.streams.update("MH_LOG", { max_age: 3_600_000_000_000, max_msg_size: 1000 });
    const [log] = await diffStreams(bus, options);
    expect(log?.state).toBe("differs");
    expect(log?.differences.join()).toMatch(/max_msg_size is 1000.*max_age/);
    await updateStreams(bus, options);
    expect(await states()).toEqual(["asDeclared", "asDeclared", "asDeclared"]);
    await checkStreams(bus, options);
  } finally {
    await bus.close();
    await server.stop();
  }
});
