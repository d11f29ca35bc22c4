/** What an operator does about streams: see where they differ from their declaration, and make them as declared. */
import { AppError } from "@manyhands/kit";
import { JetStreamApiError, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { type ApplyOptions, compareConfig, streamConfig } from "./apply-streams.ts";
import type { Bus } from "./bus.ts";
import { streamRow } from "./streams.ts";

/** One stream against its declaration. */
export interface StreamPlan {
  readonly stream: string;
  readonly state: "asDeclared" | "missing" | "differs";
  /** In words, one per setting. */
  readonly differences: readonly string[];
}

const apiTimeoutMs = 10_000;
const notFoundCode = 10_059;

/** Looks at each stream and changes nothing. Throws AppError `unavailable` when the server does not answer. */
export async function diffStreams(bus: Bus, { streams, replicas }: ApplyOptions): Promise<StreamPlan[]> {
  const manager = await jetstreamManager(bus.connection, { timeout: apiTimeoutMs });
  const plans: StreamPlan[] = [];
  for (const stream of streams) plans.push(await planFor(manager, stream, replicas));
  return plans;
}

async function planFor(manager: JetStreamManager, stream: ApplyOptions["streams"][number], replicas: number) {
  try {
    const { config } = await manager.streams.info(stream);
    const differences = compareConfig(stream, streamConfig(streamRow(stream), replicas), config);
    return { stream, state: differences.length === 0 ? "asDeclared" : "differs", differences } as const;
  } catch (error) {
    const isMissing = error instanceof JetStreamApiError && error.code === notFoundCode;
    if (isMissing) return { stream, state: "missing", differences: [`${stream} does not exist`] } as const;
    throw refused("reading", stream, error);
  }
}

/**
 * Makes each stream as declared and answers what had to be done. What the server refuses to change on a stream that exists
 * (storage, retention …) is AppError `unavailable`/STREAM_REFUSED in the server's words; nothing is ever made anew.
 */
export async function updateStreams(bus: Bus, options: ApplyOptions): Promise<StreamPlan[]> {
  const plans = await diffStreams(bus, options);
  const manager = await jetstreamManager(bus.connection, { timeout: apiTimeoutMs });
  for (const [index, { stream, state }] of plans.entries()) {
    const name = options.streams[index];
    if (state === "asDeclared" || name === undefined) continue;
    const wanted = streamConfig(streamRow(name), options.replicas);
    try {
      if (state === "missing") await manager.streams.add(wanted);
      else await manager.streams.update(name, wanted);
    } catch (error) {
      throw refused("changing", stream, error);
    }
  }
  return plans;
}

function refused(doing: string, stream: string, cause: unknown): AppError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return AppError.unavailable("STREAM_REFUSED", `${doing} stream ${stream} failed: ${why}`, cause);
}
