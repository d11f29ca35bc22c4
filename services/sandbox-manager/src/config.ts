import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Env, parseAddress, readEnv, readServiceConfig, type ServiceConfig } from "@manyhands/kit";
import { type DriverName, driverNames } from "./drivers/driver-names.ts";
import type { ManagerLimits } from "./hands/manager.ts";

/** Which driver makes hands: a named one, or the strongest that works. */
export type DriverChoice = "auto" | DriverName;

/** Settings of sandbox-manager. */
export type Config = {
  readonly service: ServiceConfig;
  /** Undefined: hand records live in this process alone (tests, a single manager without a bus). */
  readonly natsUrl: string | undefined;
  /** Copies of the records' bucket when it has to be made. */
  readonly replicas: number;
  /** Where other managers reach this one; undefined: where it listens. */
  readonly advertise: string | undefined;
  readonly driver: DriverChoice;
  readonly docker: {
    readonly socketPath: string;
    readonly image: string;
    readonly agentPath: string | undefined;
    /** Where packages of environments are installed; it must reach their registries. */
    readonly packageNetwork: string;
    /** Empty: the engine's own choice. */
    readonly runtime: string;
  };
  /** Where bubblewrap hands live on this machine. */
  readonly stateDir: string;
  /** The way out for git; undefined: connections inside hands are refused. */
  readonly git: { readonly host: string; readonly port: number; readonly vaultAddress: string } | undefined;
  /** Where files and memories of sessions are, and hands that are passed are recorded; undefined: none of these. */
  readonly sessionStoreAddress: string | undefined;
  /** Whether hands' files are kept after each operation that changed them. */
  readonly snapshots: boolean;
  /** How long a worker of a self-hosted environment holds a session without a heartbeat, in milliseconds. */
  readonly workLeaseMs: number;
  /** What becomes of hands when this manager stops in order: kept running for the next one, or released. */
  readonly onStop: "keep" | "release";
  /** What recipes may ask of a manager. */
  readonly labels: Readonly<Record<string, string>>;
  readonly limits: ManagerLimits;
};

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const HOUR_MS = 3_600_000;

/** In memory where there is such a place: a hand does not outlive a restart of the machine anyway. */
function defaultStateDir(): string {
  return join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), `manyhands-${process.getuid?.() ?? 0}`);
}

/** Limits when nothing is set. */
export const defaultLimits: ManagerLimits = {
  capacity: 20,
  hand: { memoryBytes: GIB, cpuMillis: 1000, workspaceBytes: 512 * MIB, pids: 256 },
  handMax: { memoryBytes: 8 * GIB, cpuMillis: 4000, workspaceBytes: 4 * GIB, pids: 2048 },
  defaultTimeoutMs: 120_000,
  maxTimeoutMs: HOUR_MS,
  idleMs: HOUR_MS,
  orphanMs: 60_000,
  sweepMs: 30_000,
  pauseMs: 600_000,
  pool: { perRecipe: 0, recipes: 4, maxAgeMs: 600_000, pauseMs: 500 },
};

/** Reads sandbox-manager's settings; throws ConfigError with all problems at once. */
export function readConfig(env: Env): Config {
  const reader = readEnv(env);
  const gitProxy = reader.optional("MH_GIT_PROXY_ADDR", {
    doc: "host:port of vault-proxy's git listener; absent = no git from hands.",
  });
  const vaultAddress = reader.optional("MH_VAULT_PROXY_ADDR", {
    doc: "gRPC target of vault-proxy; needed with MH_GIT_PROXY_ADDR.",
  });
  const gitAddress = gitProxy === undefined ? undefined : parseAddress(gitProxy);
  if (gitProxy !== undefined && gitAddress === undefined) reader.problem("MH_GIT_PROXY_ADDR: must be host:port");
  if (gitProxy !== undefined && vaultAddress === undefined)
    reader.problem("MH_VAULT_PROXY_ADDR: is needed with MH_GIT_PROXY_ADDR");
  const { hand, handMax } = defaultLimits;
  const config: Config = {
    service: readServiceConfig(reader),
    natsUrl: reader.optional("MH_NATS_URL", {
      doc: "NATS servers for hand records; absent = records live in this process alone.",
    }),
    replicas: reader.integer("MH_NATS_REPLICAS", {
      default: 1,
      min: 1,
      max: 5,
      doc: "Copies of the hand records: 1 in development, 3 in production.",
    }),
    sessionStoreAddress: reader.optional("MH_SESSION_STORE_ADDR", {
      doc: "gRPC target of session-store; absent = no files and memories in hands, and none is passed between sessions.",
    }),
    advertise: reader.optional("MH_ADVERTISE_ADDR", {
      doc: "host:port where other managers reach this one; absent = where it listens.",
    }),
    driver: reader.oneOf("MH_HAND_DRIVER", ["auto", ...driverNames], {
      default: "auto",
      doc: `What makes hands; auto = the first of ${driverNames.join(", ")} that works.`,
    }),
    stateDir: reader.string("MH_HAND_STATE_DIR", {
      default: defaultStateDir(),
      doc: "Folder of bubblewrap hands: journals and sockets; local, and kept over restarts of the manager.",
    }),
    docker: {
      socketPath: reader.string("MH_DOCKER_SOCKET", {
        default: "/var/run/docker.sock",
        doc: "The Docker Engine's socket.",
      }),
      image: reader.string("MH_HAND_IMAGE", {
        default: "manyhands/hand:dev",
        doc: "Image of hands whose recipe names none.",
      }),
      packageNetwork: reader.string("MH_PACKAGE_NETWORK", {
        default: "bridge",
        doc: "Network of the Docker Engine in which an environment's packages are installed; hands are never in it.",
      }),
      runtime: reader.string("MH_HAND_RUNTIME", {
        default: "",
        doc: "Runtime of hands as the Docker Engine knows it: runc, runsc (gVisor) …; empty = the engine's default.",
      }),
      agentPath: reader.optional("MH_HAND_AGENT", {
        doc: "The compiled in-hand agent (agent/build.mjs makes it); needed by docker and bubblewrap.",
      }),
    },
    git: gitAddress && vaultAddress !== undefined ? { ...gitAddress, vaultAddress } : undefined,
    snapshots: reader.boolean("MH_SNAPSHOTS", {
      default: true,
      doc: "Keep hands' files after each operation that changed them, for forks and lost hands.",
    }),
    workLeaseMs: reader.integer("MH_WORK_LEASE_MS", {
      default: 60_000,
      min: 2000,
      max: 600_000,
      doc: "A self-hosted worker that is not heard of for so long has lost its session to the next one.",
    }),
    onStop: reader.oneOf("MH_HAND_ON_STOP", ["keep", "release"], {
      default: "keep",
      doc: "What becomes of hands on a stop: kept running for the next manager, or released with their files.",
    }),
    labels: readLabels(reader),
    limits: {
      ...readIdle(reader),
      capacity: reader.integer("MH_HAND_CAPACITY", {
        default: defaultLimits.capacity,
        min: 1,
        max: 1000,
        doc: "Hands held at once; the next one is made by another manager, or refused until there is room.",
      }),
      hand: {
        memoryBytes: reader.integer("MH_HAND_MEMORY_BYTES", {
          default: hand.memoryBytes,
          min: 32 * MIB,
          max: handMax.memoryBytes,
          doc: "Memory of a hand, its files included.",
        }),
        cpuMillis: reader.integer("MH_HAND_CPU_MILLIS", {
          default: hand.cpuMillis,
          min: 50,
          max: handMax.cpuMillis,
          unit: "thousandths of a core",
          doc: "Processor time of a hand.",
        }),
        workspaceBytes: reader.integer("MH_HAND_WORKSPACE_BYTES", {
          default: hand.workspaceBytes,
          min: MIB,
          max: handMax.workspaceBytes,
          doc: "Size of a hand's workspace.",
        }),
        pids: reader.integer("MH_HAND_PIDS", {
          default: hand.pids,
          min: 16,
          max: handMax.pids,
          doc: "Processes and threads of a hand.",
        }),
      },
      handMax,
      defaultTimeoutMs: reader.integer("MH_TOOL_TIMEOUT_MS", {
        default: defaultLimits.defaultTimeoutMs,
        min: 100,
        max: HOUR_MS,
        doc: "After which a tool call is killed unless it says otherwise.",
      }),
      maxTimeoutMs: defaultLimits.maxTimeoutMs,
      idleMs: reader.integer("MH_HAND_IDLE_MS", {
        default: defaultLimits.idleMs,
        min: 0,
        max: 24 * HOUR_MS,
        doc: "A hand unused for so long is released; 0 = never.",
      }),
      orphanMs: reader.integer("MH_HAND_ORPHAN_MS", {
        default: defaultLimits.orphanMs,
        min: 1000,
        max: HOUR_MS,
        doc: "A container without a record is removed when older than this.",
      }),
      sweepMs: reader.integer("MH_HAND_SWEEP_MS", {
        default: defaultLimits.sweepMs,
        min: 100,
        max: HOUR_MS,
        doc: "Time between sweeps.",
      }),
    },
  };
  reader.done();
  return config;
}

type Reader = ReturnType<typeof readEnv>;

function readIdle(reader: Reader): Pick<ManagerLimits, "pauseMs" | "pool"> {
  const { pauseMs, pool } = defaultLimits;
  return {
    pauseMs: reader.integer("MH_HAND_PAUSE_MS", {
      default: pauseMs,
      min: 0,
      max: 24 * HOUR_MS,
      doc: "A hand unused for so long stands still, background jobs included, until its next call; 0 = never.",
    }),
    pool: {
      ...pool,
      perRecipe: reader.integer("MH_HAND_POOL_SIZE", {
        default: pool.perRecipe,
        min: 0,
        max: 100,
        doc: "Warm hands kept for each recipe in use; 0 = none. Nothing is made before a recipe was used.",
      }),
      recipes: reader.integer("MH_HAND_POOL_RECIPES", {
        default: pool.recipes,
        min: 1,
        max: 100,
        doc: "Recipes that have warm hands at once.",
      }),
      maxAgeMs: reader.integer("MH_HAND_POOL_MAX_AGE_MS", {
        default: pool.maxAgeMs,
        min: 1000,
        max: 24 * HOUR_MS,
        doc: "A warm hand older than this is made anew; a recipe unused for so long has none.",
      }),
    },
  };
}

/** `gpu=yes,zone=a`. */
function readLabels(reader: Reader): Readonly<Record<string, string>> {
  const list = reader.optional("MH_MANAGER_LABELS", {
    doc: "Labels of this manager, as name=value by comma; recipes may ask for them.",
  });
  const pairs = (list ?? "").split(",").filter((pair) => pair.trim() !== "");
  const labels: Record<string, string> = {};
  for (const pair of pairs) {
    const [name = "", value] = pair.trim().split("=", 2);
    if (name === "" || value === undefined) reader.problem(`MH_MANAGER_LABELS: "${pair}" must be name=value`);
    else labels[name] = value;
  }
  return labels;
}
