/** Replaces byte strings in a stream, holding back only what may be the beginning of one. */
import { Transform } from "node:stream";
import { ByteSearch } from "./search-bytes.ts";

/** What to look for and what to put there. `from` is never empty; `onPut` is told of each time. */
export type Replacement = { readonly from: Buffer; readonly to: Buffer; readonly onPut?: () => void };

/** Bytes that change piece by piece. */
export type Replacer = {
  /** What can go on now. */
  next(chunk: Buffer): Buffer;
  /** What was held back. */
  end(): Buffer;
};

/**
 * Every occurrence replaced; at one place the longest one wins. Where what to look for changes with what has passed, it
 * is asked for before each chunk.
 */
export function replacer(replacements: readonly Replacement[] | ((chunk: Buffer) => readonly Replacement[])): Replacer {
  let current = typeof replacements === "function" ? [] : replacements;
  let wanted = new Wanted(current);
  let held: Buffer = Buffer.alloc(0);
  return {
    next(chunk) {
      const next = typeof replacements === "function" ? replacements(chunk) : current;
      if (next !== current) {
        current = next;
        wanted = new Wanted(current);
      }
      const { out, rest } = replaceIn(held.length > 0 ? Buffer.concat([held, chunk]) : chunk, wanted, false);
      held = rest;
      return out;
    },
    end: () => replaceIn(held, wanted, true).out,
  };
}

/** The same as a stream. */
export function replaceInStream(...[replacements]: Parameters<typeof replacer>): Transform {
  const bytes = replacer(replacements);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      done(null, bytes.next(chunk));
    },
    flush(done) {
      done(null, bytes.end());
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
const NONE: readonly Replacement[] = [];

/** True when the bytes from an index to their end are the beginning of a text. By hand: most differ in the first few. */
function begins(text: Buffer, bytes: Buffer, index: number): boolean {
  for (let at = index; at < bytes.length; at += 1) if (bytes[at] !== text[at - index]) return false;
  return true;
}

/** What to look for, longest first. */
class Wanted {
  private readonly all: readonly Replacement[];
  private readonly search: ByteSearch;
  /** By the byte they begin with. */
  private readonly byFirst = new Map<number, Replacement[]>();

  constructor(replacements: readonly Replacement[]) {
    this.all = [...replacements].sort((a, b) => b.from.length - a.from.length);
    this.search = new ByteSearch(this.all.map(({ from }) => from));
    for (const one of this.all) {
      const first = one.from[0] ?? 0;
      this.byFirst.set(first, [...(this.byFirst.get(first) ?? []), one]);
    }
  }

  /** The first one at or behind an index; of those at one place the longest. */
  next(bytes: Buffer, from: number): { readonly index: number; readonly found: Replacement } | undefined {
    const next = this.search.next(bytes, from);
    const found = next && this.all[next.which];
    return found && { index: next.index, found };
  }

  /** True when one of more than so many bytes could begin at this index and end beyond what is here. */
  mayBegin(bytes: Buffer, index: number, longerThan: number): boolean {
    const rest = bytes.length - index;
    for (const { from } of this.byFirst.get(bytes[index] ?? 0) ?? NONE) {
      if (from.length > longerThan && from.length > rest && begins(from, bytes, index)) return true;
    }
    return false;
  }

  /** The first place from which everything to the end may be the beginning of one. */
  holdFrom(bytes: Buffer, from: number): number {
    const longest = this.all[0]?.from.length ?? 0;
    for (let index = Math.max(from, bytes.length - longest + 1); index < bytes.length; index += 1) {
      if (this.mayBegin(bytes, index, 0)) return index;
    }
    return bytes.length;
  }
}
