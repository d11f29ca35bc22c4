/** session-store, callable without a process. */
import { type RunningService, type StartOptions, startService } from "@manyhands/kit";
import type { Config } from "./config.ts";
import { createDeps, type Deps, type Overrides } from "./deps.ts";
import { createServer } from "./server.ts";

export { type Config, readConfig } from "./config.ts";
export type { Deps, Overrides } from "./deps.ts";

/** Starts session-store in this process; stop it by the returned handle. */
export function createSessionStore(
  config: Config,
  overrides: Overrides = {},
  options: Omit<StartOptions<Overrides>, "overrides"> = {},
): Promise<RunningService<Deps>> {
  return startService("session-store", { createDeps, createServer }, config, { ...options, overrides });
}
