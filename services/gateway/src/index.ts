/** The public HTTP API, wire-compatible with the official SDK's managed-agents resources. Holds no state of its own. */
import { type RunningService, type StartOptions, startService } from "@manyhands/kit";
import { type Config, readConfig } from "./config.ts";
import { createDeps, type Deps } from "./deps.ts";
import { createServer } from "./server.ts";

export { type ApiKeyRecord, hashApiKey } from "./api-keys.ts";
export { type Config, readConfig } from "./config.ts";
export type { Deps } from "./deps.ts";
export { type Operation, type OperationName, operations } from "./operations.ts";

/** How this service is put together. */
export const gateway = { readConfig, createDeps, createServer };

/** Starts a gateway in this process; `addresses` has `http` and `admin`. */
export function createGateway(
  config: Config,
  options: StartOptions<Partial<Deps>> = {},
): Promise<RunningService<Deps>> {
  return startService("gateway", gateway, config, options);
}
