import { type Env, readEnv, readServiceConfig, type ServiceConfig } from "@manyhands/kit";

/** Settings of the gateway. */
export type Config = {
  readonly service: ServiceConfig;
  /** Where the public API listens. */
  readonly httpListen: string;
  /** File with the hashed API keys. */
  readonly apiKeysFile: string;
  readonly sessionStoreAddress: string;
  readonly vaultProxyAddress: string;
  readonly sandboxManagerAddress: string;
  /** For the switch of a session's harness and for waking it. */
  readonly harnessAddress: string;
  readonly limits: Limits;
};

/** Bounds on what clients may ask for; each is stated in the answer that refuses. */
export type Limits = {
  /** Largest request body. */
  readonly bodyBytes: number;
  /** Event streams open at once, over all clients. */
  readonly streams: number;
  /** Event streams open at once for one workspace. */
  readonly streamsPerWorkspace: number;
  /** A stream whose reader takes nothing for so long is dropped. */
  readonly streamStallMs: number;
  /** Time between `ping` events on a stream. */
  readonly streamPingMs: number;
  /** How long one call to another service may take. */
  readonly callMs: number;
};

/** Defaults of the limits; the body limit is part of the documented API and not a setting. */
export const defaultLimits: Limits = {
  bodyBytes: 4 * 1024 * 1024,
  streams: 2000,
  streamsPerWorkspace: 500,
  streamStallMs: 30_000,
  streamPingMs: 15_000,
  callMs: 30_000,
};

/** Reads the gateway's settings from the environment; throws ConfigError with all problems at once. */
export function readConfig(env: Env): Config {
  const reader = readEnv(env);
  const config: Config = {
    service: readServiceConfig(reader),
    httpListen: reader.address("MH_HTTP_LISTEN", { default: "127.0.0.1:0", doc: "Where the public API listens." }),
    apiKeysFile: reader.file("MH_API_KEYS_FILE", {
      doc: "JSON file with the hashed API keys: {keys: [{id, workspace_id, sha256, created_at}]}; re-read on change.",
    }),
    sessionStoreAddress: reader.string("MH_SESSION_STORE_ADDR", { doc: "gRPC target of session-store." }),
    vaultProxyAddress: reader.string("MH_VAULT_PROXY_ADDR", { doc: "gRPC target of vault-proxy." }),
    sandboxManagerAddress: reader.string("MH_SANDBOX_MANAGER_ADDR", { doc: "gRPC target of sandbox-manager." }),
    harnessAddress: reader.string("MH_HARNESS_ADDR", { doc: "gRPC target of harness." }),
    limits: {
      bodyBytes: defaultLimits.bodyBytes,
      streams: reader.integer("MH_MAX_STREAMS", {
        default: defaultLimits.streams,
        min: 1,
        max: 100_000,
        doc: "Event streams open at once.",
      }),
      streamsPerWorkspace: reader.integer("MH_MAX_STREAMS_PER_WORKSPACE", {
        default: defaultLimits.streamsPerWorkspace,
        min: 1,
        max: 100_000,
        doc: "Event streams open at once for one workspace.",
      }),
      streamStallMs: reader.integer("MH_STREAM_STALL_MS", {
        default: defaultLimits.streamStallMs,
        min: 100,
        max: 600_000,
        doc: "A stream whose reader takes nothing for so long is dropped.",
      }),
      streamPingMs: reader.integer("MH_STREAM_PING_MS", {
        default: defaultLimits.streamPingMs,
        min: 100,
        max: 60_000,
        doc: "Time between ping events on a stream.",
      }),
      callMs: reader.integer("MH_CALL_MS", {
        default: defaultLimits.callMs,
        min: 100,
        max: 600_000,
        doc: "How long one call to another service may take.",
      }),
    },
  };
  reader.done();
  return config;
}
