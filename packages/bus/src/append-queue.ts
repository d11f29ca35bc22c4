/**
 * Appends of many sessions at once. A disk that syncs every write takes one write after the other, so that a dozen
 * appends in flight wait for each other anyway: from there on the waiting ones go together, as a group with one sync.
 * A few appends at a time are published at once, each on its own.
 */
import { AppError } from "@manyhands/kit";
import { type AppendOutcome, appendFrame } from "./append-frame.ts";
import { appendGroup, groupIds, knowsGroups } from "./append-group.ts";
import type { Bus } from "./bus.ts";
import type { FrameToAppend } from "./frame-to-append.ts";

/** Appends frames; what `appendFrame` promises holds for each of them. */
export interface FrameAppender {
  append(frame: FrameToAppend, timeoutMs: number): Promise<AppendOutcome>;
}

/** Appends in flight before others wait for a group. */
const maxSingles = 8;
/** Fewer waiting ones are quicker each on its own: a group costs the server as much as about a dozen syncs. */
const minGroup = 16;
/** So many go without waiting for more, so that the server writes while the next ones are made. */
const fullGroup = 32;
const maxGroups = 2;
/** How long after a group appends are held back until the end of the turn of the event loop, for the next group. */
const busyMs = 20;
const maxGroup = 128;
const maxGroupBytes = 4 * 1024 * 1024;
const maxWaiting = 4096;
/** After a stream said that it takes no groups, an operator may allow them. */
const askAgainMs = 60_000;

interface Waiting {
  readonly frame: FrameToAppend;
  /** On the clock of `performance.now()`. */
  readonly deadlineMs: number;
  readonly done: PromiseWithResolvers<AppendOutcome>;
}

/** Appends on a connected bus. */
export function createFrameAppender(bus: Bus): FrameAppender {
  return new Appender(bus);
}

class Appender implements FrameAppender {
  readonly #bus: Bus;
  readonly #nextId = groupIds();
  #waiting: Waiting[] = [];
  #singles = 0;
  #groups = 0;
  #busyUntilMs = 0;
  #isScheduled = false;
  #offUntilMs = 0;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  append(frame: FrameToAppend, timeoutMs: number): Promise<AppendOutcome> {
    const isFree = this.#groups === 0 && this.#singles < maxSingles && this.#waiting.length === 0;
    const isBusy = performance.now() < this.#busyUntilMs;
    if ((isFree && !isBusy) || !this.#mayGroup()) return this.#single(frame, timeoutMs);
    if (this.#waiting.length >= maxWaiting) {
      throw AppError.exhausted("TOO_MANY_WAITING", `more than ${maxWaiting} appends wait for the log`, 100);
    }
    const done = Promise.withResolvers<AppendOutcome>();
    this.#waiting.push({ frame, deadlineMs: performance.now() + timeoutMs, done });
    if (this.#waiting.length >= fullGroup) this.#goOn();
    else if (isBusy) this.#goOnLater();
    return done.promise;
  }

  #mayGroup(): boolean {
    return performance.now() >= this.#offUntilMs && knowsGroups(this.#bus);
  }

  #single(frame: FrameToAppend, timeoutMs: number): Promise<AppendOutcome> {
    this.#singles += 1;
    const outcome = appendFrame(this.#bus, frame, timeoutMs);
    const end = () => {
      this.#singles -= 1;
      if (this.#waiting.length > 0) this.#goOn();
    };
    outcome.then(end, end);
    return outcome;
  }

  #goOnLater(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#goOn();
    });
  }

  /** Sends what waits: together when it is many, else as many single ones as may be in flight beside no group. */
  #goOn(): void {
    if (this.#waiting.length >= minGroup && this.#mayGroup()) {
      if (this.#groups >= maxGroups) return;
      this.#groups += 1;
      void this.#group(this.#takeGroup()).finally(() => {
        this.#groups -= 1;
        this.#busyUntilMs = performance.now() + busyMs;
        this.#goOn();
      });
      return;
    }
    while (this.#groups === 0 && this.#waiting.length > 0 && this.#singles < maxSingles) {
      const [one] = this.#waiting.splice(0, 1);
      if (one !== undefined) this.#sendAlone(one, false);
    }
  }

  #takeGroup(): Waiting[] {
    let bytes = 0;
    const over = this.#waiting.findIndex(({ frame }, at) => {
      bytes += frame.payload.length;
      return at >= maxGroup || (bytes > maxGroupBytes && at > 0);
    });
    return this.#waiting.splice(0, over < 0 ? this.#waiting.length : over);
  }

  async #group(group: readonly Waiting[]): Promise<void> {
    const nowMs = performance.now();
    const timeoutMs = Math.max(1, Math.min(...group.map(({ deadlineMs }) => deadlineMs - nowMs)));
    const frames = group.map(({ frame }) => frame);
    const outcome = this.#bus.connected()
      ? await appendGroup(this.#bus, this.#nextId(), frames, timeoutMs).catch(() => notSent)
      : notSent;
    if (outcome.kind === "stored") {
      for (const [at, one] of group.entries()) {
        one.done.resolve({ kind: "stored", sequence: outcome.firstSequence + at });
      }
    } else if (outcome.kind === "unknown") {
      for (const one of group) one.done.resolve(outcome);
    } else {
      if (outcome.never) this.#offUntilMs = performance.now() + askAgainMs;
      for (const one of group) this.#sendAlone(one, true);
    }
  }

  /** After a group that was refused, what exists is compared with the frame before anybody else is believed to be faster. */
  #sendAlone({ frame, deadlineMs, done }: Waiting, wasInGroup: boolean): void {
    const leftMs = deadlineMs - performance.now();
    // One that waited too long counts as one without an answer: it may be tried again like those.
    const outcome = leftMs > 0 ? this.#single(frame, leftMs) : Promise.resolve(tooLate);
    done.resolve(
      outcome.then((one) => (wasInGroup && one.kind === "exists" ? { kind: "exists", maybeOurs: true } : one)),
    );
  }
}

const tooLate: AppendOutcome = { kind: "unknown", why: "the log is busy" };
/** Nothing was stored: the server drops a group that was begun and not ended. */
const notSent = { kind: "refused", why: "the group could not be sent", never: false } as const;
