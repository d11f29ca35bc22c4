/** The hands: provision and execute. The only service that can reach an engine. */
import { type RunningService, type StartOptions, startService } from "@manyhands/kit";
import { type Config, readConfig } from "./config.ts";
import { createDeps, type Deps, type Overrides } from "./deps.ts";
import { createServer } from "./server.ts";

export { type Config, defaultLimits, readConfig } from "./config.ts";
export type { Deps, Overrides } from "./deps.ts";

/** How this service is put together. */
export const sandboxManager = { readConfig, createDeps, createServer };

/** Starts a sandbox-manager in this process; `addresses` has `grpc` and `admin`. */
export function createSandboxManager(
  config: Config,
  options: StartOptions<Overrides> = {},
): Promise<RunningService<Deps>> {
  return startService("sandbox-manager", sandboxManager, config, options);
}
