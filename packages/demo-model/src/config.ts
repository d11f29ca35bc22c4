import { type Env, LOG_LEVELS, type LogLevel, readEnv, type Secret } from "@manyhands/kit";

/** Settings of the process. */
export type Config = {
  /** `host:port` of the HTTP server. */
  readonly listen: string;
  /** Directory of scenario files; undefined for the packaged ones. */
  readonly scenarioDir: string | undefined;
  /** The only accepted key; undefined accepts any. */
  readonly requiredKey: Secret | undefined;
  /** Estimated tokens per second of scenarios that name no speed; 0 is unlimited. */
  readonly tokensPerSecond: number;
  readonly logLevel: LogLevel;
  /** Time running answers get after SIGTERM, in milliseconds. */
  readonly drainMs: number;
  /** Written once the server listens; undefined for no file. */
  readonly readyFile: string | undefined;
};

/** Reads the settings; throws a `ConfigError` with every problem. */
export function readConfig(env: Env): Config {
  const read = readEnv(env);
  const config: Config = {
    listen: read.address("MH_DEMO_MODEL_LISTEN", { default: "127.0.0.1:0", doc: "where the HTTP server listens" }),
    scenarioDir: read.optional("MH_DEMO_MODEL_SCENARIOS", { doc: "directory of *.yaml scenarios; default: packaged" }),
    requiredKey: read.optionalSecret("MH_DEMO_MODEL_KEY", { doc: "the only accepted API key; default: every key is" }),
    tokensPerSecond: read.integer("MH_DEMO_MODEL_TOKENS_PER_SECOND", {
      default: 0,
      min: 0,
      max: 100_000,
      unit: "estimated tokens per second",
      doc: "speed of scenarios that name none; 0 is unlimited",
    }),
    logLevel: read.oneOf("MH_LOG_LEVEL", LOG_LEVELS, { default: "info", doc: "how much is logged" }),
    drainMs: read.integer("MH_DRAIN_MS", { default: 10_000, min: 0, max: 600_000, doc: "time for running answers" }),
    readyFile: read.optional("MH_READY_FILE", { doc: "written with pid and address when ready" }),
  };
  read.done();
  return config;
}
