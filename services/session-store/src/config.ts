/** Settings of session-store. */
import { type Env, readEnv, readServiceConfig, type ServiceConfig } from "@manyhands/kit";

const MIB = 1024 * 1024;

/** Settings; times in milliseconds, sizes in bytes. */
export interface Config {
  readonly service: ServiceConfig;
  readonly nats: {
    readonly url: string;
    /** Monitoring URL that proves durability; empty when there is none. */
    readonly monitorUrl: string;
    readonly replicas: number;
    readonly allowDataLoss: boolean;
  };
  readonly log: {
    /** How long an append may take when its caller names no deadline. */
    readonly appendTimeoutMs: number;
    readonly maxHotSessions: number;
    readonly maxHotIds: number;
  };
  readonly watch: { readonly maxBufferedFrames: number; readonly maxBufferedBytes: number };
  /** Snapshots of the list of sessions. */
  readonly snapshot: { readonly everyMs: number; readonly minFrames: number };
  readonly wakeRescanMs: number;
  readonly retentionLookMs: number;
  /** Files of workspaces. */
  readonly files: { readonly maxBytes: number; readonly quotaBytes: number };
}

/** Reads the settings; throws ConfigError listing every problem. `argv` may hold `--allow-data-loss`. */
export function readConfig(env: Env, argv: readonly string[] = process.argv.slice(2)): Config {
  const reader = readEnv(env);
  const config: Config = {
    service: readServiceConfig(reader),
    nats: {
      url: reader.string("MH_NATS_URL", { default: "nats://127.0.0.1:4222", doc: "NATS servers, several by comma." }),
      monitorUrl:
        reader.optional("MH_NATS_MONITOR_URL", { doc: "Monitoring URL of NATS; proves that writes are synced." }) ?? "",
      replicas: reader.integer("MH_NATS_REPLICAS", { default: 1, min: 1, max: 5, doc: "Copies of each stream." }),
      allowDataLoss:
        reader.boolean("MH_ALLOW_DATA_LOSS", {
          default: false,
          doc: "Start without proof that writes are synced; a power cut then loses acknowledged events.",
        }) || argv.includes("--allow-data-loss"),
    },
    log: {
      appendTimeoutMs: reader.integer("MH_APPEND_TIMEOUT_MS", {
        default: 10_000,
        min: 100,
        max: 120_000,
        doc: "How long an append may take when its caller names no deadline.",
      }),
      maxHotSessions: reader.integer("MH_MAX_HOT_SESSIONS", {
        default: 2000,
        min: 1,
        max: 1_000_000,
        doc: "Sessions whose head is kept in memory.",
      }),
      maxHotIds: reader.integer("MH_MAX_HOT_IDS", {
        default: 1_000_000,
        min: 1000,
        max: 100_000_000,
        doc: "Event and request ids kept in memory to recognise repeats.",
      }),
    },
    watch: {
      maxBufferedFrames: reader.integer("MH_WATCH_BUFFER_FRAMES", {
        default: 1024,
        min: 1,
        max: 100_000,
        doc: "Frames a slow watcher may lag behind before it is dropped.",
      }),
      maxBufferedBytes: reader.integer("MH_WATCH_BUFFER_BYTES", {
        default: 8 * 1024 * 1024,
        min: 1024,
        max: 1024 * 1024 * 1024,
        doc: "Bytes a slow watcher may lag behind before it is dropped.",
      }),
    },
    snapshot: {
      everyMs: reader.integer("MH_INDEX_SNAPSHOT_MS", {
        default: 60_000,
        min: 100,
        max: 3_600_000,
        doc: "Between two looks at whether the list of sessions should be written away.",
      }),
      minFrames: reader.integer("MH_INDEX_SNAPSHOT_FRAMES", {
        default: 5000,
        min: 1,
        max: 10_000_000,
        doc: "New frames that make it worth while to write the list of sessions away.",
      }),
    },
    wakeRescanMs: reader.integer("MH_WAKE_RESCAN_MS", {
      default: 15_000,
      min: 100,
      max: 3_600_000,
      doc: "Between two looks at running sessions whose log does not move.",
    }),
    retentionLookMs: reader.integer("MH_RETENTION_LOOK_MS", {
      default: 60_000,
      min: 100,
      max: 3_600_000,
      doc: "Between two looks at which retention policies are due.",
    }),
    files: {
      maxBytes: reader.integer("MH_FILE_MAX_BYTES", {
        default: 100 * MIB,
        min: 1024,
        max: 1024 * MIB,
        doc: "Largest file that is kept.",
      }),
      quotaBytes: reader.integer("MH_FILE_QUOTA_BYTES", {
        default: 10 * 1024 * MIB,
        min: 1024,
        max: Number.MAX_SAFE_INTEGER,
        doc: "Bytes of all files of one workspace.",
      }),
    },
  };
  reader.done();
  return config;
}
