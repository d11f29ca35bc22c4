/** Every frame of every session in the order they were stored: history, then live. For projections. */
import { AppError } from "@manyhands/kit";
import { type ConsumerMessages, DeliverPolicy, type JsMsg, jetstream } from "@nats-io/jetstream";
import type { Bus } from "./bus.ts";
import { frameOf, type StoredFrame } from "./frame-read.ts";

/** What a follower is told. */
export interface LogFollowerOptions {
  /** First stream sequence to deliver; 1 for all. */
  readonly fromSequence: number;
  /** One frame; synchronous, so that order is kept and nothing piles up. */
  onFrame(frame: StoredFrame): void;
  /** History is over. Called once. */
  onCaughtUp(): void;
}

/** A running follower. */
export interface LogFollower {
  /** Ends it; twice is fine. */
  stop(): Promise<void>;
  /** Rejects when following is over for good although nobody stopped it. */
  readonly failed: Promise<never>;
}

const prefetch = 1000;

/**
 * Follows the log with an ordered consumer, which is made anew by itself after any gap or reconnect. Throws AppError
 * `unavailable` when it cannot be started.
 */
export async function followLog(bus: Bus, options: LogFollowerOptions): Promise<LogFollower> {
  let caughtUp = false;
  const reachEnd = () => {
    if (!caughtUp) options.onCaughtUp();
    caughtUp = true;
  };
  const take = (message: JsMsg) => {
    const frame = frameOf(message.subject, {
      sequence: message.seq,
      data: message.data,
      header: (name) => message.headers?.last(name) || undefined,
    });
    if (frame !== undefined) options.onFrame(frame);
    if (message.info.pending === 0) reachEnd();
  };
  const messages = await start(bus, options.fromSequence, take, reachEnd);
  let stopped = false;
  const failed = messages.closed().then((error) => {
    if (stopped || bus.connection.isClosed()) return new Promise<never>(() => undefined);
    throw AppError.unavailable("FOLLOWER_ENDED", "following the log ended", error);
  });
  failed.catch((error: unknown) => bus.logger.error({ err: error }, "following the log ended"));
  return {
    failed,
    async stop() {
      stopped = true;
      await messages.close();
    },
  };
}

async function start(
  bus: Bus,
  fromSequence: number,
  take: (message: JsMsg) => void,
  reachEnd: () => void,
): Promise<ConsumerMessages> {
  try {
    const consumer = await jetstream(bus.connection, { timeout: 10_000 }).consumers.get("MH_LOG", {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: Math.max(1, fromSequence),
    });
    const { num_pending } = await consumer.info();
    const messages = await consumer.consume({ max_messages: prefetch, callback: take });
    if (num_pending === 0) reachEnd();
    return messages;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw AppError.unavailable("FOLLOWER_UNAVAILABLE", `the log cannot be followed: ${why}`, error);
  }
}
