/** What session-store serves, and does by itself. */
import { createServiceServer, type ServiceServer, type Shell } from "@manyhands/kit";
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";
import { keepRetention } from "./retention/sweep-retention.ts";
import { services } from "./routes.ts";

/** gRPC and admin on the configured addresses; retention policies are applied as long as it runs. */
export function createServer(config: Config, deps: Deps, shell: Shell): ServiceServer {
  const { lifecycle, logger } = shell;
  const keeping = keepRetention({ ...deps, logger: logger.child({ part: "retention" }) }, lifecycle.signal);
  lifecycle.onStop("retention", () => keeping);
  return createServiceServer({ config: config.service, shell, services: services(deps), checks: deps.checks });
}
