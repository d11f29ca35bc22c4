/**
 * Appends of many sessions at once. A disk that syncs every write takes one write after the other, so that a dozen
 * appends in flight wait for each other anyway: from there on the waiting ones go together, as a group with one sync.
 * A few appends at a time are published at once, each on its own.
 */
import { AppError } from "@manyhands/kit";
import { type AppendOutcome, appendFrame } from "./append-frame.ts";
import { type GroupOutcome, groupIds, knowsGroups, type OpenGroup, openGroup } from "./append-group.ts";
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
/** So many begin the next group while one is being stored: fewer would only hold up the acknowledgement of that one. */
const minNextGroup = 48;
/** How long after a group appends are held back until the end of the turn of the event loop, for the next group. */
const busyMs = 20;
const maxGroup = 64;
const maxGroupBytes = 4 * 1024 * 1024;
const maxWaiting = 4096;
/** After a stream said that it takes no groups, an operator may allow them. */
const askAgainMs = 60_000;

/** A group that takes in what comes until it is full or the turn of the event loop ends. */
interface Gathering {
  readonly group: OpenGroup;
  readonly members: Waiting[];
  bytes: number;
  /** It only waits for the group before it. */
  isComplete: boolean;
}

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
  #gathering: Gathering | undefined;
  /** One group at a time is ended: the server acknowledges none while it has another one to store behind it. */
  #isCommitting = false;
  #busyUntilMs = 0;
  #isScheduled = false;
  #offUntilMs = 0;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  append(frame: FrameToAppend, timeoutMs: number): Promise<AppendOutcome> {
    const isFree = !this.#isGrouping() && this.#singles < maxSingles && this.#waiting.length === 0;
    const isBusy = performance.now() < this.#busyUntilMs;
    if ((isFree && !isBusy) || !this.#mayGroup()) return this.#single(frame, timeoutMs);
    if (this.#waiting.length >= maxWaiting) {
      throw AppError.exhausted("TOO_MANY_WAITING", `more than ${maxWaiting} appends wait for the log`, 100);
    }
    const done = Promise.withResolvers<AppendOutcome>();
    const one = { frame, deadlineMs: performance.now() + timeoutMs, done };
    if (this.#gathering !== undefined && this.#join(this.#gathering, one)) return done.promise;
    this.#waiting.push(one);
    if (this.#waiting.length >= minGroup) this.#goOn();
    else if (isBusy) this.#goOnLater();
    return done.promise;
  }

  #isGrouping(): boolean {
    return this.#isCommitting || this.#gathering !== undefined;
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
    if (this.#gathering !== undefined) return;
    const enough = this.#isCommitting ? minNextGroup : minGroup;
    if (this.#waiting.length >= enough && this.#mayGroup()) {
      this.#gather();
      return;
    }
    while (!this.#isCommitting && this.#waiting.length > 0 && this.#singles < maxSingles) {
      const [one] = this.#waiting.splice(0, 1);
      if (one !== undefined) this.#sendAlone(one, false);
    }
  }

  /** Begins a group with what waits: the server takes it in while the rest of this turn is made. */
  #gather(): void {
    const group = openGroup(this.#bus, this.#nextId());
    const gathering: Gathering = { group, members: [], bytes: 0, isComplete: false };
    this.#gathering = gathering;
    const waiting = this.#waiting;
    const over = waiting.findIndex((one) => !this.#join(gathering, one));
    this.#waiting = over < 0 ? [] : waiting.slice(over);
    setImmediate(() => this.#complete(gathering));
  }

  /** False when the group has no room. */
  #join(gathering: Gathering, one: Waiting): boolean {
    const { group, members } = gathering;
    const bytes = gathering.bytes + one.frame.payload.length;
    const fits = members.length < maxGroup && (bytes <= maxGroupBytes || members.length === 0);
    if (fits) {
      gathering.bytes = bytes;
      members.push(one);
      group.add(one.frame);
    }
    if (!fits || members.length === maxGroup) this.#complete(gathering);
    return fits;
  }

  #complete(gathering: Gathering): void {
    gathering.isComplete = true;
    if (this.#gathering === gathering && !this.#isCommitting) this.#commit(gathering);
  }

  #commit({ group, members }: Gathering): void {
    this.#gathering = undefined;
    this.#isCommitting = true;
    const nowMs = performance.now();
    const timeoutMs = Math.max(1, Math.min(...members.map(({ deadlineMs }) => deadlineMs - nowMs)));
    void group.commit(timeoutMs).then((outcome) => {
      this.#isCommitting = false;
      this.#busyUntilMs = performance.now() + busyMs;
      if (this.#gathering?.isComplete) this.#commit(this.#gathering);
      this.#settle(members, outcome);
      this.#goOn();
    });
  }

  #settle(members: readonly Waiting[], outcome: GroupOutcome): void {
    if (outcome.kind === "stored") {
      for (const [at, one] of members.entries()) {
        one.done.resolve({ kind: "stored", sequence: outcome.firstSequence + at });
      }
    } else if (outcome.kind === "unknown") {
      for (const one of members) one.done.resolve(outcome);
    } else {
      if (outcome.never) this.#offUntilMs = performance.now() + askAgainMs;
      for (const one of members) this.#sendAlone(one, true);
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
