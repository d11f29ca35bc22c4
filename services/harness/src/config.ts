import { readFileSync } from "node:fs";
import { defaultLimits, type Limits, type NumericLimit, type PriceTable, readPriceTable } from "@manyhands/core";
import { type Env, readEnv, readServiceConfig, type ServiceConfig, toAppError } from "@manyhands/kit";
import { type FaultChoice, parseFaultChoice } from "./fault-points.ts";

/** Settings of the harness. It has no credential of any kind. */
export interface Config {
  readonly service: ServiceConfig;
  readonly natsUrl: string;
  readonly sessionStoreAddress: string;
  readonly sandboxManagerAddress: string;
  readonly vaultProxyAddress: string;
  /** Base URL of the vault-proxy's model listener. */
  readonly modelProxyUrl: string;
  /** Sessions driven at once. */
  readonly concurrency: number;
  /** How long a session keeps its place in a full process while others wait. */
  readonly sliceMs: number;
  /** A brain that has not beaten for so long loses its session. */
  readonly ackWaitMs: number;
  /** How long a session's folded log is kept after a turn; 0 keeps none. */
  readonly warmMs: number;
  /** After how many events the fold is saved in the log; 0 never. */
  readonly checkpointEvents: number;
  /** Files of harnesses to register beside the default one. */
  readonly harnessModules: readonly string[];
  /** Model that the `cheap-first` harness begins with; absent means that harness is not registered. */
  readonly cheapModel: string | undefined;
  /** The egress proxy that web_fetch goes through; absent means web_fetch is not available. */
  readonly egressProxyUrl: URL | undefined;
  /** The search provider of web_search; absent means web_search is not available. */
  readonly searchUrl: URL | undefined;
  /** A model stream that is silent for so long is cut. */
  readonly modelIdleMs: number;
  /** Pause between two previews of the same text. */
  readonly deltaIntervalMs: number;
  readonly limits: Limits;
  /** Where a crash test ends this process. */
  readonly fault?: FaultChoice;
}

/** Reads the harness's settings from the environment; throws ConfigError with all problems at once. */
export function readConfig(env: Env): Config {
  const reader = readEnv(env);
  const fault = readFault(reader);
  const config: Config = {
    service: readServiceConfig(reader),
    natsUrl: reader.string("MH_NATS_URL", { default: "nats://127.0.0.1:4222", doc: "NATS servers, by comma." }),
    sessionStoreAddress: reader.string("MH_SESSION_STORE_ADDR", { doc: "gRPC target of session-store." }),
    sandboxManagerAddress: reader.string("MH_SANDBOX_MANAGER_ADDR", { doc: "gRPC target of sandbox-manager." }),
    vaultProxyAddress: reader.string("MH_VAULT_PROXY_ADDR", { doc: "gRPC target of vault-proxy." }),
    modelProxyUrl: reader.url("MH_MODEL_PROXY_URL", {
      protocols: ["http:", "https:"],
      doc: "Base URL of vault-proxy's model listener; it adds the key.",
    }),
    concurrency: reader.integer("MH_CONCURRENCY", {
      default: 64,
      min: 1,
      max: 10_000,
      doc: "Sessions driven at once by this process, of all kinds together.",
    }),
    sliceMs: reader.integer("MH_SLICE_MS", {
      default: 10_000,
      min: 100,
      max: 86_400_000,
      doc: "How long a session keeps its place in a full process while others wait; then it goes to the end of the queue.",
    }),
    ackWaitMs: reader.integer("MH_ACK_WAIT_MS", {
      default: 1_250,
      min: 200,
      max: 60_000,
      doc: "A brain that has not beaten for so long loses its session to another. The same for every harness.",
    }),
    warmMs: reader.integer("MH_WARM_MS", {
      default: 60_000,
      min: 0,
      max: 3_600_000,
      doc: "How long a session's log stays in memory after a turn.",
    }),
    checkpointEvents: reader.integer("MH_CHECKPOINT_EVENTS", {
      default: 128,
      min: 0,
      max: 100_000,
      doc: "After how many events of a session its fold is saved in the log, so that waking it costs the same at any length; 0 never.",
    }),
    harnessModules: (reader.optional("MH_HARNESS_MODULES", { doc: "Files of harnesses to register, by comma." }) ?? "")
      .split(",")
      .filter((path) => path !== ""),
    cheapModel: reader.optional("MH_CHEAP_MODEL", { doc: "Model that harness `cheap-first` begins turns with." }),
    egressProxyUrl: optionalUrl(reader, "MH_EGRESS_PROXY_URL", "Egress proxy that web_fetch goes through."),
    searchUrl: optionalUrl(reader, "MH_SEARCH_URL", "Search provider of web_search, with the interface of SearXNG."),
    modelIdleMs: reader.integer("MH_MODEL_IDLE_MS", {
      default: 120_000,
      min: 100,
      max: 3_600_000,
      doc: "A model stream that is silent for so long is cut and asked again.",
    }),
    deltaIntervalMs: reader.integer("MH_DELTA_INTERVAL_MS", {
      default: 25,
      min: 0,
      max: 1_000,
      doc: "Text of one block is previewed at most once in so long.",
    }),
    limits: readLimits(reader),
    ...(fault === undefined ? {} : { fault }),
  };
  reader.done();
  return config;
}

type Reader = ReturnType<typeof readEnv>;

function readLimits(reader: Reader): Limits {
  const limit = (name: string, key: NumericLimit, max: number, doc: string) =>
    reader.integer(name, { default: defaultLimits[key], min: 1, max, doc });
  return {
    ...defaultLimits,
    iterationsPerTurn: limit("MH_MAX_ITERATIONS", "iterationsPerTurn", 10_000, "Model requests in one turn."),
    toolCallsPerTurn: limit("MH_MAX_TOOL_CALLS", "toolCallsPerTurn", 100_000, "Tool uses in one turn."),
    parallelTools: limit("MH_PARALLEL_TOOLS", "parallelTools", 64, "Operations in flight in one session."),
    operationTimeoutMs: limit(
      "MH_OPERATION_TIMEOUT_MS",
      "operationTimeoutMs",
      86_400_000,
      "Longest run of one operation.",
    ),
    modelAttempts: limit("MH_MODEL_ATTEMPTS", "modelAttempts", 100, "Tries of one model request."),
    modelBackoffMs: limit("MH_MODEL_BACKOFF_MS", "modelBackoffMs", 60_000, "First pause between two tries; doubles."),
    modelBackoffMaxMs: limit(
      "MH_MODEL_BACKOFF_MAX_MS",
      "modelBackoffMaxMs",
      3_600_000,
      "Longest pause between two tries.",
    ),
    turnMs: limit("MH_MAX_TURN_MS", "turnMs", 2_592_000_000, "Longest time a turn may run before a model request."),
    outputBytes: limit(
      "MH_OUTPUT_BYTES",
      "outputBytes",
      400 * 1024,
      "Bytes of one tool result the model is shown; of long ones never more than 64 KiB.",
    ),
    prices: readPrices(reader),
    maxOutputTokens: limit("MH_MAX_OUTPUT_TOKENS", "maxOutputTokens", 1_000_000, "Tokens of one model response."),
  };
}

/** A JSON object by model name: what cost budgets are held against. */
function readPrices(reader: Reader): PriceTable {
  const file = reader.optional("MH_MODEL_PRICES_FILE", {
    doc: "JSON of list prices, US dollars per million tokens: {model: {input, output, cache_read, cache_write}}.",
  });
  if (file === undefined) return {};
  try {
    return readPriceTable(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    reader.problem(`MH_MODEL_PRICES_FILE cannot be used: ${toAppError(error).message}`);
    return {};
  }
}

function optionalUrl(reader: Reader, name: string, doc: string): URL | undefined {
  const text = reader.optional(name, { doc });
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url;
  reader.problem(`${name} must be an http or https URL`);
  return undefined;
}

function readFault(reader: Reader): FaultChoice | undefined {
  const isDevelopment = reader.boolean("MH_DEVELOPMENT", { default: false, doc: "Allows what only tests need." });
  const text = reader.optional("MH_FAULT_POINT", { doc: "Where a crash test ends this process: `name` or `name@n`." });
  if (text === undefined) return undefined;
  if (!isDevelopment) {
    reader.problem("MH_FAULT_POINT is refused unless MH_DEVELOPMENT is true");
    return undefined;
  }
  try {
    return parseFaultChoice(text);
  } catch (error) {
    reader.problem(toAppError(error).message);
    return undefined;
  }
}
