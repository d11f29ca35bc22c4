/** Creates declared streams and finds differences between what is declared and what is there. */
import { AppError } from "@manyhands/kit";
import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { knowsGroups } from "./append-group.ts";
import type { Bus } from "./bus.ts";
import { type StreamName, type StreamRow, streamRow } from "./streams.ts";

/** How streams are applied. */
export interface ApplyOptions {
  /** Copies of each stream in the cluster: 1 in development, 3 in production. */
  readonly replicas: number;
  /** Which streams. */
  readonly streams: readonly StreamName[];
}

const nanosPerMs = 1_000_000;
const notFoundCode = 10_059;
const nameTakenCode = 10_058;
const apiTimeoutMs = 10_000;

/**
 * Creates the streams that do not exist and compares the others. Throws AppError `unavailable`/STREAM_DRIFT listing
 * every difference; changes nothing that exists. Safe to call from several processes at once.
 */
export async function applyStreams(bus: Bus, options: ApplyOptions): Promise<void> {
  const manager = await jetstreamManager(bus.connection, { timeout: apiTimeoutMs });
  const differences: string[] = [];
  for (const name of options.streams) {
    const wanted = streamConfig(streamRow(name), options.replicas, knowsGroups(bus));
    const actual = (await findStream(manager, name)) ?? (await createStream(manager, name, wanted));
    differences.push(...compareConfig(name, wanted, actual));
  }
  throwOnDrift(differences);
}

/** Compares without creating; a missing stream is a difference too. Throws like `applyStreams`. */
export async function checkStreams(bus: Bus, options: ApplyOptions): Promise<void> {
  const manager = await jetstreamManager(bus.connection, { timeout: apiTimeoutMs });
  const differences: string[] = [];
  for (const name of options.streams) {
    const actual = await findStream(manager, name);
    if (actual === undefined) differences.push(`${name}: does not exist`);
    else differences.push(...compareConfig(name, streamConfig(streamRow(name), options.replicas), actual));
  }
  throwOnDrift(differences);
}

function throwOnDrift(differences: readonly string[]): void {
  if (differences.length === 0) return;
  throw AppError.unavailable("STREAM_DRIFT", `streams differ from their declaration: ${differences.join("; ")}`);
}

async function findStream(manager: JetStreamManager, name: string): Promise<StreamConfig | undefined> {
  try {
    return (await manager.streams.info(name)).config;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === notFoundCode) return undefined;
    throw unavailable(`reading stream ${name}`, error);
  }
}

/** Another process may create it at the same moment: then theirs is what we compare with. */
async function createStream(manager: JetStreamManager, name: string, wanted: Wanted): Promise<StreamConfig> {
  try {
    return (await manager.streams.add(wanted)).config;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === nameTakenCode) {
      const theirs = await findStream(manager, name);
      if (theirs !== undefined) return theirs;
    }
    throw unavailable(`creating stream ${name}`, error);
  }
}

function unavailable(doing: string, cause: unknown): AppError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return AppError.unavailable("STREAMS_UNAVAILABLE", `${doing} failed: ${why}`, cause);
}

type Wanted = Partial<StreamConfig> & { name: string };

/** The server's configuration of a row. */
export function streamConfig(row: StreamRow, replicas: number, knowsBatches = false): Wanted {
  return {
    name: row.name,
    description: row.summary,
    subjects: [...row.subjects],
    retention: row.retention === "workqueue" ? RetentionPolicy.Workqueue : RetentionPolicy.Limits,
    storage: StorageType.File,
    num_replicas: replicas,
    max_msgs_per_subject: row.maxPerSubject,
    max_msg_size: row.maxMessageBytes,
    max_age: row.maxAgeMs * nanosPerMs,
    discard: row.refuseWhenFull || row.bucket !== undefined ? DiscardPolicy.New : DiscardPolicy.Old,
    discard_new_per_subject: row.refuseWhenFull,
    deny_delete: row.denyDelete,
    deny_purge: false,
    allow_direct: true,
    allow_rollup_hdrs: row.bucket !== undefined,
    ...(row.atomicBatches === true && knowsBatches ? { allow_atomic: true } : {}), // not compared: nothing depends on it
    ...(row.republish === undefined ? {} : { republish: { ...row.republish } }),
  };
}

const comparedKeys = [
  "subjects",
  "retention",
  "storage",
  "num_replicas",
  "max_msgs_per_subject",
  "max_msg_size",
  "max_age",
  "discard",
  "discard_new_per_subject",
  "deny_delete",
  "deny_purge",
  "allow_direct",
  "allow_rollup_hdrs",
] as const satisfies readonly (keyof StreamConfig)[];

/** Differences in words, one per key; the server leaves out what is false or 0. */
export function compareConfig(name: string, wanted: Wanted, actual: Partial<StreamConfig>): string[] {
  const differences = comparedKeys.flatMap((key) => {
    const [want, have] = [JSON.stringify(wanted[key] || 0), JSON.stringify(actual[key] || 0)];
    return want === have ? [] : [`${name}.${key} is ${have}, declared ${want}`];
  });
  const limits = ["max_msgs", "max_bytes"] as const;
  for (const key of limits) {
    if ((actual[key] ?? -1) > 0) differences.push(`${name}.${key} is ${actual[key]}, declared unlimited`);
  }
  const republish = (config: Partial<StreamConfig>) =>
    `${config.republish?.src ?? ""} to ${config.republish?.dest ?? ""}`;
  if (republish(wanted) !== republish(actual)) {
    differences.push(`${name}.republish is ${republish(actual)}, declared ${republish(wanted)}`);
  }
  return differences;
}
