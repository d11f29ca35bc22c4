/** One nats-server that syncs every write, session-store in this process, and the plain client beside it. */
import { applyStreams, type Bus, connectBus } from "@manyhands/bus";
import { type RunningService, silentLogger, testServiceConfig } from "@manyhands/kit";
import { createSessionStore, type Deps, readConfig } from "@manyhands/session-store";
import { type NatsServer, startNatsServer, tempDir } from "@manyhands/testkit";
import { type DirectStore, directStore } from "./direct-store.ts";
import { connectFloor, type Floor } from "./floor.ts";

/** A running rig. */
export interface Rig {
  readonly nats: NatsServer;
  readonly running: RunningService<Deps>;
  readonly direct: DirectStore;
  readonly floor: Floor;
  stop(): Promise<void>;
}

/** Starts a rig. `load` fills the log before session-store sees it, on a server that does not sync: that is quicker. */
export async function startRig(load?: (bus: Bus) => Promise<void>): Promise<Rig> {
  const dir = await tempDir("manyhands-bench-");
  if (load !== undefined) await loadLog(dir.path, load);
  const nats = await startNatsServer({ dir: dir.path, syncAlways: true });
  const env = { MH_NATS_URL: nats.url, MH_NATS_MONITOR_URL: nats.monitorUrl };
  const running = await createSessionStore({ ...readConfig(env, []), service: testServiceConfig() });
  const floor = await connectFloor(nats.url);
  return {
    nats,
    running,
    direct: directStore(running.deps),
    floor,
    async stop() {
      await floor.close();
      await running.stop("the benchmark is over");
      await nats.stop();
      await dir.cleanup();
    },
  };
}

/** Fills a store folder and stops the server in good order. */
export async function loadLog(dir: string, load: (bus: Bus) => Promise<void>): Promise<void> {
  const nats = await startNatsServer({ dir });
  const bus = await connectBus({ url: nats.url, name: "bench-load", logger: silentLogger() });
  try {
    await applyStreams(bus, { replicas: 1, streams: ["MH_LOG"] });
    await load(bus);
  } finally {
    await bus.close();
    await nats.stop();
  }
}
