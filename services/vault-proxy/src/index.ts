import { type RunningService, type StartOptions, startService } from "@manyhands/kit";
import type { Config } from "./config.ts";
import { createDeps, type Deps, type Overrides } from "./deps.ts";
import { createServer } from "./server.ts";

export { type Config, readConfig } from "./config.ts";
export type { Deps, Overrides } from "./deps.ts";
export type { Buckets, Kv, KvChange, KvEntry } from "./store/kv.ts";
export { memoryKv } from "./store/memory-kv.ts";
export type { SessionDirectory } from "./tokens/session-directory.ts";
export type { Usage, UsageWriter } from "./usage/usage.ts";

/** A running vault-proxy; `addresses` has `grpc`, `admin`, `model` and `git`. */
export type VaultProxy = RunningService<Deps>;

/** Starts the service in this process. */
export function createVaultProxy(config: Config, options: StartOptions<Overrides> = {}): Promise<VaultProxy> {
  return startService("vault-proxy", { createDeps, createServer }, config, options);
}
