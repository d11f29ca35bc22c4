/** Replaces byte strings in a stream, holding back only what may be the beginning of one. */
import { Transform } from "node:stream";

/** What to look for and what to put there. `from` is never empty; `onPut` is told of each time. */
export type Replacement = { readonly from: Buffer; readonly to: Buffer; readonly onPut?: () => void };

/**
 * A stream with every occurrence replaced; at one place the longest one wins. Where what to look for changes with what
 * has passed, it is asked for before each chunk.
 */
export function replaceInStream(
  replacements: readonly Replacement[] | ((chunk: Buffer) => readonly Replacement[]),
): Transform {
  let current = typeof replacements === "function" ? [] : replacements;
  let wanted = new Wanted(current);
  let held: Buffer = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const next = typeof replacements === "function" ? replacements(chunk) : current;
      if (next !== current) {
        current = next;
        wanted = new Wanted(current);
      }
      const { out, rest } = replaceIn(held.length > 0 ? Buffer.concat([held, chunk]) : chunk, wanted, false);
      held = rest;
      done(null, out);
    },
    flush(done) {
      done(null, replaceIn(held, wanted, true).out);
    },
  });
}

/** The same for bytes that are all there. */
export function replaceInBytes(bytes: Buffer, replacements: readonly Replacement[]): Buffer {
  return replaceIn(bytes, new Wanted(replacements), true).out;
}

/** The same for one header value; headers are latin1 on the wire. */
export function replaceInText(text: string, replacements: readonly Replacement[]): string {
  return replaceInBytes(Buffer.from(text, "latin1"), replacements).toString("latin1");
}

function replaceIn(bytes: Buffer, wanted: Wanted, last: boolean): { out: Buffer; rest: Buffer } {
  const parts: Buffer[] = [];
  let at = 0;
  for (let next = wanted.next(bytes, at); next; next = wanted.next(bytes, at)) {
    // A longer one may still be arriving at the same place or before it.
    if (!last && wanted.mayBegin(bytes, next.index, next.found.from.length)) break;
    parts.push(bytes.subarray(at, next.index), next.found.to);
    next.found.onPut?.();
    at = next.index + next.found.from.length;
  }
  const keep = last ? bytes.length : wanted.holdFrom(bytes, at);
  const tail = bytes.subarray(at, keep);
  return {
    out: parts.length === 0 ? tail : Buffer.concat([...parts, tail]),
    rest: keep === bytes.length ? NOTHING : Buffer.from(bytes.subarray(keep)),
  };
}

const NOTHING = Buffer.alloc(0);
/** Shorter texts are searched for each one alone, which needs no table. */
const WORTH_A_TABLE = 4096;

/**
 * What to look for, all of it in one pass: a window as long as the shortest one goes over the bytes, and its last two
 * bytes tell how far it may go on without passing a beginning of any (Wu and Manber, "A fast algorithm for
 * multi-pattern searching", 1994).
 */
class Wanted {
  /** Longest first. */
  private readonly all: readonly Replacement[];
  private readonly shortest: number;
  private readonly firstBytes = new Uint8Array(256);
  private shifts: Uint8Array | undefined;

  constructor(replacements: readonly Replacement[]) {
    this.all = [...replacements].sort((a, b) => b.from.length - a.from.length);
    this.shortest = this.all.at(-1)?.from.length ?? 0;
    for (const { from } of this.all) this.firstBytes[from[0] ?? 0] = 1;
  }

  /** The first one at or behind an index; of those at one place the longest. */
  next(bytes: Buffer, from: number): { readonly index: number; readonly found: Replacement } | undefined {
    return this.shortest < 2 || bytes.length - from < WORTH_A_TABLE
      ? this.oneByOne(bytes, from)
      : this.sweep(bytes, from);
  }

  /** True when one of more than so many bytes could begin at this index and end beyond what is here. */
  mayBegin(bytes: Buffer, index: number, longerThan: number): boolean {
    const tail = bytes.subarray(index);
    return this.all.some(
      ({ from }) => from.length > longerThan && from.length > tail.length && from.subarray(0, tail.length).equals(tail),
    );
  }

  /** The first place from which everything to the end may be the beginning of one. */
  holdFrom(bytes: Buffer, from: number): number {
    const longest = this.all[0]?.from.length ?? 0;
    for (let index = Math.max(from, bytes.length - longest + 1); index < bytes.length; index += 1) {
      if (this.firstBytes[bytes[index] ?? 0] === 1 && this.mayBegin(bytes, index, 0)) return index;
    }
    return bytes.length;
  }

  private oneByOne(bytes: Buffer, from: number) {
    let best: { index: number; found: Replacement } | undefined;
    for (const found of this.all) {
      const index = bytes.indexOf(found.from, from);
      if (index >= 0 && (!best || index < best.index)) best = { index, found };
    }
    return best;
  }

  private sweep(bytes: Buffer, from: number) {
    this.shifts ??= shiftsOf(this.all, this.shortest);
    const { shifts, all, shortest } = this;
    for (let end = from + shortest - 1; end < bytes.length; ) {
      const shift = shifts[((bytes[end - 1] ?? 0) << 8) | (bytes[end] ?? 0)] ?? 0;
      if (shift > 0) {
        end += shift;
        continue;
      }
      const index = end - shortest + 1;
      const found = all.find(({ from: text }) => stands(text, bytes, index));
      if (found) return { index, found };
      end += 1;
    }
    return undefined;
  }
}

function stands(text: Buffer, bytes: Buffer, index: number): boolean {
  return text.compare(bytes, index, Math.min(index + text.length, bytes.length)) === 0;
}

/** How far a window of this length may go on, by its last two bytes. */
function shiftsOf(all: readonly Replacement[], window: number): Uint8Array {
  const shifts = new Uint8Array(65_536).fill(Math.min(window - 1, 255));
  for (const { from } of all) {
    for (let end = 1; end < window; end += 1) {
      const pair = ((from[end - 1] ?? 0) << 8) | (from[end] ?? 0);
      shifts[pair] = Math.min(shifts[pair] ?? 0, window - 1 - end);
    }
  }
  return shifts;
}
