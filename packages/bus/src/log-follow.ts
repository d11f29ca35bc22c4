/**
 * Every frame of every session in the order they were stored: history, then what comes. For projections. It is read on
 * from time to time and when asked, and not sent by a consumer: a process mostly follows what it appended itself, and
 * having all of that sent back costs the server and the process more than anything else beside the append.
 */
import { AppError, raceAbort } from "@manyhands/kit";
import type { Bus } from "./bus.ts";
import { createDirectReader, type DirectReader, type StoredMessage } from "./direct-read.ts";
import { frameOf, type StoredFrame } from "./frame-read.ts";
import { damagedAmong, lastSequence, lookAhead } from "./log-skip.ts";
import { subjects } from "./subjects.ts";

/** What a follower is told. */
export interface LogFollowerOptions {
  /** First stream sequence to tell; 1 for all. */
  readonly fromSequence: number;
  /** One frame; synchronous, so that order is kept and nothing piles up. */
  onFrame(frame: StoredFrame): void;
  /** What was stored when following began is told. Called once. */
  onCaughtUp(): void;
}

/** A running follower. What is stored is told within about a second, and within a tenth of one while the log grows. */
export interface LogFollower {
  /** Stream sequence up to which everything was told or skipped. */
  sequence(): number;
  /** Whoever follows has the frame of this sequence from storing it: it need not be told, and may be nevertheless. */
  skip(sequence: number): void;
  /**
   * Tells at once what was stored before the call, as far as the replica that is read has it. True when everything up to
   * `sequence` was told or skipped too, false after `timeoutMs`.
   */
  readOn(sequence: number, timeoutMs: number): Promise<boolean>;
  /** Ends it; twice is fine. */
  stop(): Promise<void>;
}

/** How long what others store may go untold, while the log grows. */
const lagMs = 100;
/** The same of the first frame after a pause: each look that finds nothing doubles the wait, up to this. */
const idleLagMs = 1000;
const retryMs = 500;
const readMs = 5000;
const batch = 1000;
const maxSkipped = 10_000;
/** How often it is looked whether the stream holds more than can be read. */
const lookMs = 2000;
const waitMs = 20;

/**
 * Follows the log. Messages whose bytes are damaged are told as an error and passed over, so that one damaged session
 * does not hide all others. Throws AppError `unavailable` when the stream does not say where it ends.
 */
export async function followLog(bus: Bus, options: LogFollowerOptions): Promise<LogFollower> {
  return new Following(bus, options, await endOf(bus));
}

async function endOf(bus: Bus): Promise<number> {
  try {
    return await lastSequence(bus);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw AppError.unavailable("FOLLOWER_UNAVAILABLE", `the log cannot be followed: ${why}`, error);
  }
}

interface Read {
  readonly messages: readonly StoredMessage[];
  /** More was there when it was read. */
  readonly cut: boolean;
}

class Following implements LogFollower {
  readonly #bus: Bus;
  readonly #options: LogFollowerOptions;
  readonly #reader: DirectReader;
  /** Where the stream ended when following began. */
  readonly #historyEnd: number;
  /** Sequences behind what is not told yet. */
  readonly #skipped = new Set<number>();
  #sequence: number;
  #sequenceAtTick: number;
  #lagMs = lagMs;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;
  #isCaughtUp = false;
  #isStopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(bus: Bus, options: LogFollowerOptions, historyEnd: number) {
    this.#bus = bus;
    this.#options = options;
    this.#reader = createDirectReader(bus);
    this.#historyEnd = historyEnd;
    this.#sequence = Math.max(0, options.fromSequence - 1);
    this.#sequenceAtTick = this.#sequence;
    this.#noteHistory();
    this.#tickAfter(0);
  }

  sequence(): number {
    return this.#sequence;
  }

  skip(sequence: number): void {
    if (sequence <= this.#sequence || this.#skipped.size >= maxSkipped) return;
    this.#skipped.add(sequence);
    this.#joinSkipped();
  }

  async readOn(sequence: number, timeoutMs: number): Promise<boolean> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), timeoutMs);
    try {
      return await raceAbort(this.#readUpTo(sequence, late.signal), late.signal).catch(() => false);
    } finally {
      clearTimeout(timer);
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#reader.close();
    await this.#reading?.catch(() => undefined);
  }

  #tickAfter(ms: number): void {
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => void this.#tick(), ms);
    this.#timer.unref();
  }

  /**
   * Looks less and less often while nothing comes. A frame skipped right behind the last one proves that nobody else
   * stored anything before it.
   */
  async #tick(): Promise<void> {
    const isProved = this.#isCaughtUp && this.#sequence > this.#sequenceAtTick && this.#skipped.size === 0;
    let isRead = true;
    if (!isProved) {
      await this.#read().catch((error: unknown) => {
        isRead = false;
        this.#bus.logger.debug({ err: error }, "the log cannot be read on; tried again soon");
      });
    }
    this.#lagMs = this.#sequence > this.#sequenceAtTick ? lagMs : Math.min(2 * this.#lagMs, idleLagMs);
    this.#sequenceAtTick = this.#sequence;
    this.#tickAfter(isRead ? this.#lagMs : retryMs);
  }

  async #readUpTo(sequence: number, late: AbortSignal): Promise<boolean> {
    await this.#reading?.catch(() => undefined); // that one began before the call
    for (;;) {
      const isRead = await this.#read().then(
        () => true,
        () => false,
      );
      if (isRead && this.#sequence >= sequence) return true;
      if (this.#isStopped || late.aborted) return false;
      this.#lookedAt = Number.NEGATIVE_INFINITY;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  /** Reads to the end, or waits for whoever does. */
  #read(): Promise<void> {
    this.#reading ??= this.#readToEnd().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readToEnd(): Promise<void> {
    let ahead: Promise<Read> | undefined;
    while (!this.#isStopped) {
      const { messages, cut } = await (ahead ?? this.#nextMessages(this.#sequence + 1));
      const last = messages.at(-1);
      // The server reads on while these are told.
      ahead = cut && last !== undefined ? this.#nextMessages(last.sequence + 1) : undefined;
      ahead?.catch(() => undefined); // what goes wrong is heard of when it is awaited
      for (const message of messages) this.#tell(message);
      for (const sequence of this.#skipped) if (sequence <= this.#sequence) this.#skipped.delete(sequence);
      this.#joinSkipped();
      this.#noteHistory();
      if (messages.length === 0 && !(await this.#passOver())) return;
      if (messages.length > 0 && !cut) return;
    }
  }

  async #nextMessages(fromSequence: number): Promise<Read> {
    const place = { stream: "MH_LOG", subject: subjects.logAll, fromSequence } as const;
    try {
      return await this.#reader.nextOf({ ...place, count: batch, timeoutMs: readMs });
    } catch (error) {
      if (error instanceof AppError && error.reason === "MESSAGE_UNREADABLE") return { messages: [], cut: false };
      throw error;
    }
  }

  #tell(message: StoredMessage): void {
    const { sequence } = message;
    if (sequence <= this.#sequence) return; // skipped while the read was under way
    this.#sequence = sequence;
    if (this.#skipped.delete(sequence)) return;
    const frame = frameOf(message.subject, message);
    if (frame !== undefined) this.#options.onFrame(frame);
  }

  #joinSkipped(): void {
    while (this.#skipped.delete(this.#sequence + 1)) this.#sequence += 1;
  }

  #noteHistory(): void {
    if (this.#isCaughtUp || this.#sequence < this.#historyEnd) return;
    this.#isCaughtUp = true;
    this.#options.onCaughtUp();
  }

  /**
   * Passes over what can be read no more, because it was deleted or is damaged, when the log ends there to a reader.
   * True when there may be more behind it. Not looked at every time: mostly the log just ends.
   */
  async #passOver(): Promise<boolean> {
    const nowMs = performance.now();
    const isDue = !this.#isCaughtUp || this.#skipped.size > 0 || nowMs - this.#lookedAt >= lookMs;
    if (!isDue) return false;
    this.#lookedAt = nowMs;
    const sequence = this.#sequence;
    const { unreadableTo } = await lookAhead(this.#bus, sequence);
    if (this.#sequence !== sequence || unreadableTo === sequence) return false;
    await this.#tellDamage(sequence + 1, unreadableTo);
    this.#sequence = Math.max(this.#sequence, unreadableTo);
    this.#joinSkipped();
    this.#noteHistory();
    return true;
  }

  /** Messages of deleted sessions are missing too, but rightly. */
  async #tellDamage(from: number, to: number): Promise<void> {
    const damaged = await damagedAmong(this.#bus, from, to);
    if (damaged === 0) return;
    this.#bus.logger.error({ from, to, damaged }, "messages of the log cannot be read: their bytes are damaged");
  }
}
