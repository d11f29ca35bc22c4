/** What session-store serves. */
import { createServiceServer, type ServiceServer, type Shell } from "@manyhands/kit";
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";
import { services } from "./routes.ts";

/** gRPC and admin on the configured addresses. */
export function createServer(config: Config, deps: Deps, shell: Shell): ServiceServer {
  return createServiceServer({ config: config.service, shell, services: services(deps), checks: deps.checks });
}
