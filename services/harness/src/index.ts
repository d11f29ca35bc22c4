/** The brain: a stateless loop that wakes, reads a session's log, asks the model, routes tool calls, and lets go. */
import { type RunningService, type StartOptions, startService } from "@manyhands/kit";
import { type Config, readConfig } from "./config.ts";
import { createDeps, type Deps, type Overrides } from "./deps.ts";
import { createServer } from "./server.ts";

export { type Config, readConfig } from "./config.ts";
export type { Deps, Overrides } from "./deps.ts";
export { type FaultPoint, faultPoints } from "./fault-points.ts";
export type { Harness, HarnessKinds } from "./harness-kinds.ts";

/** How this service is put together. */
export const harness = { readConfig, createDeps, createServer };

/** Starts a harness in this process; `addresses` has `grpc` and `admin`. */
export function createHarness(config: Config, options: StartOptions<Overrides> = {}): Promise<RunningService<Deps>> {
  return startService("harness", harness, config, options);
}
