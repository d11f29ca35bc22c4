/** Replaces byte strings in a stream, holding back only what may be the beginning of one. */
import { Transform } from "node:stream";
import { ByteSearch } from "./search-bytes.ts";

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

/** What to look for, longest first. */
class Wanted {
  private readonly all: readonly Replacement[];
  private readonly search: ByteSearch;
  private readonly firstBytes = new Uint8Array(256);

  constructor(replacements: readonly Replacement[]) {
    this.all = [...replacements].sort((a, b) => b.from.length - a.from.length);
    this.search = new ByteSearch(this.all.map(({ from }) => from));
    for (const { from } of this.all) this.firstBytes[from[0] ?? 0] = 1;
  }

  /** The first one at or behind an index; of those at one place the longest. */
  next(bytes: Buffer, from: number): { readonly index: number; readonly found: Replacement } | undefined {
    const next = this.search.next(bytes, from);
    const found = next && this.all[next.which];
    return found && { index: next.index, found };
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
}
