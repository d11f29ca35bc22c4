import { hostname } from "node:os";
import { createServiceServer, formatAddress, parseAddress, type ServiceServer, type Shell } from "@manyhands/kit";
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";
import { announceForever } from "./hands/announce.ts";
import { sweepForever } from "./hands/sweep.ts";
import { workRoutes } from "./routes/work.ts";
import { routes } from "./routes.ts";

/** gRPC and admin; once it is known where gRPC answers, hands can be held, and the sweep begins. */
export function createServer(config: Config, deps: Deps, shell: Shell): ServiceServer {
  const { manager, chosen } = deps;
  const server = createServiceServer({
    config: config.service,
    shell,
    services: [routes(deps), workRoutes(deps.work)],
    version: { driver: chosen.defaultDriver, reason: chosen.reason },
  });
  return {
    async start() {
      const started = await server.start();
      manager.listensOn(config.advertise ?? reachable(started.addresses.grpc ?? ""));
      const { ended: announcing } = await announceForever(manager, shell.lifecycle.signal);
      shell.lifecycle.onStop("announcing", () => announcing);
      const sweeping = sweepForever(manager, shell.lifecycle.signal);
      shell.lifecycle.onStop("sweep", () => sweeping);
      return started;
    },
  };
}

/** An address that means "everywhere" is reached by this host's name. */
function reachable(listening: string): string {
  const address = parseAddress(listening);
  if (!address || !["0.0.0.0", "::", "[::]"].includes(address.host)) return listening;
  return formatAddress({ host: hostname(), port: address.port });
}
