/** Simulated time: a queue of moments, and one real turn of the event loop between two of them. */

interface Moment {
  readonly atMs: number;
  readonly order: number;
  readonly happen: () => void;
}

/** Numbers in [0, 1) that depend on nothing but the seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What happens when, decided by one seed. */
export class Scheduler {
  nowMs = 1_700_000_000_000;
  readonly random: () => number;
  private readonly moments: Moment[] = [];
  private order = 0;

  constructor(seed: number) {
    this.random = randomOf(seed);
  }

  /** A whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + Math.floor(this.random() * (to - from + 1));
  }

  chance(share: number): boolean {
    return share > 0 && this.random() < share;
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.random() * items.length)];
  }

  /** Lets something happen after `delayMs`; what is due at the same time keeps its order. */
  after(delayMs: number, happen: () => void): void {
    const moment = { atMs: this.nowMs + Math.max(0, Math.ceil(delayMs)), order: this.order++, happen };
    let at = this.moments.length;
    while (at > 0 && isLater(this.moments[at - 1], moment)) at -= 1;
    this.moments.splice(at, 0, moment);
  }

  /** The next thing happens, and all that follows from it without time passing. False when nothing is left. */
  async step(): Promise<boolean> {
    const moment = this.moments.shift();
    if (moment === undefined) return false;
    this.nowMs = Math.max(this.nowMs, moment.atMs);
    moment.happen();
    await new Promise(setImmediate); // every promise that can go on has gone on by then
    return true;
  }
}

function isLater(one: Moment | undefined, other: Moment): boolean {
  return one !== undefined && (one.atMs > other.atMs || (one.atMs === other.atMs && one.order > other.order));
}
