/** Every frame of every session in the order they were stored: history, then live. For projections. */
import { AppError } from "@manyhands/kit";
import { type ConsumerMessages, DeliverPolicy, type JsMsg, jetstream } from "@nats-io/jetstream";
import type { Bus } from "./bus.ts";
import { frameOf, type StoredFrame } from "./frame-read.ts";
import { damagedAmong, lookAhead } from "./log-skip.ts";

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
/** How often it is looked whether the stream holds more than was delivered. */
const stallCheckMs = 2000;

/**
 * Follows the log with an ordered consumer, which is made anew by itself after any gap or reconnect. The server's
 * consumer stops for good at a message whose bytes are damaged; such messages are told as an error and passed over, so
 * that one damaged session does not hide all others. Throws AppError `unavailable` when it cannot be started.
 */
export async function followLog(bus: Bus, options: LogFollowerOptions): Promise<LogFollower> {
  const follower = new Following(bus, options);
  await follower.begin(options.fromSequence);
  const failed = follower.ended.promise;
  failed.catch((error: unknown) => bus.logger.error({ err: error }, "following the log ended"));
  return { failed, stop: () => follower.stop() };
}

class Following {
  readonly ended = Promise.withResolvers<never>();
  readonly #bus: Bus;
  readonly #options: LogFollowerOptions;
  #messages: ConsumerMessages | undefined;
  #sequence = 0;
  #seenAtCheck = -1;
  #caughtUp = false;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(bus: Bus, options: LogFollowerOptions) {
    this.#bus = bus;
    this.#options = options;
  }

  /** Delivers from a sequence on. */
  async begin(fromSequence: number): Promise<void> {
    this.#sequence = Math.max(0, fromSequence - 1);
    const messages = await start(
      this.#bus,
      fromSequence,
      (one) => this.#take(one),
      () => this.#reachEnd(),
    );
    this.#messages = messages;
    void messages.closed().then((error) => {
      if (this.#stopped || this.#messages !== messages || this.#bus.connection.isClosed()) return;
      this.#stopped = true;
      clearTimeout(this.#timer);
      this.ended.reject(AppError.unavailable("FOLLOWER_ENDED", "following the log ended", error));
    });
    this.#checkLater();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#messages?.close();
  }

  #take(message: JsMsg): void {
    if (message.seq <= this.#sequence) return; // told already, by the consumer before this one
    this.#sequence = message.seq;
    const frame = frameOf(message.subject, {
      sequence: message.seq,
      data: message.data,
      header: (name) => message.headers?.last(name) || undefined,
    });
    if (frame !== undefined) this.#options.onFrame(frame);
    if (message.info.pending === 0) this.#reachEnd();
  }

  #reachEnd(): void {
    if (!this.#caughtUp) this.#options.onCaughtUp();
    this.#caughtUp = true;
  }

  #checkLater(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#check(), stallCheckMs);
    this.#timer.unref();
  }

  /**
   * Only when nothing came since the last look: what is delivered needs no questions. A consumer that a restart of the
   * server left behind without a word is found here too: the stream holds more, and it does not come.
   */
  async #check(): Promise<void> {
    const quiet = this.#seenAtCheck === this.#sequence;
    this.#seenAtCheck = this.#sequence;
    try {
      if (quiet && this.#bus.connected() && (await this.#goOn(this.#sequence))) return;
    } catch (error) {
      this.#bus.logger.debug({ err: error }, "the log cannot be looked at; its follower is asked again later");
    }
    this.#checkLater();
  }

  /** Begins anew behind damaged messages, or at one that was not delivered; false when there is nothing more. */
  async #goOn(sequence: number): Promise<boolean> {
    const { unreadableTo, atEnd } = await lookAhead(this.#bus, sequence);
    if (this.#sequence !== sequence || this.#stopped) return false;
    const isStalled = unreadableTo > sequence || !atEnd;
    if (isStalled) {
      if (unreadableTo > sequence) await this.#tellDamage(sequence + 1, unreadableTo);
      const old = this.#messages;
      this.#messages = undefined;
      await old?.close();
      try {
        await this.begin(unreadableTo + 1);
      } catch (error) {
        this.#stopped = true;
        this.ended.reject(error); // whoever follows begins again where it was
        return true;
      }
    }
    if (atEnd) this.#reachEnd(); // the server's count of what is left may include what it cannot read
    return isStalled;
  }

  /** Messages of deleted sessions are missing too, but rightly. */
  async #tellDamage(from: number, to: number): Promise<void> {
    const damaged = await damagedAmong(this.#bus, from, to);
    if (damaged === 0) return;
    this.#bus.logger.error({ from, to, damaged }, "messages of the log cannot be read: their bytes are damaged");
  }
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
