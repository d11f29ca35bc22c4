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
  let ordered = longestFirst(current);
  let held: Buffer = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const next = typeof replacements === "function" ? replacements(chunk) : current;
      if (next !== current) {
        current = next;
        ordered = longestFirst(current);
      }
      const { out, rest } = replaceIn(Buffer.concat([held, chunk]), ordered, false);
      held = rest;
      done(null, out);
    },
    flush(done) {
      done(null, replaceIn(held, ordered, true).out);
    },
  });
}

/** The same for bytes that are all there. */
export function replaceInBytes(bytes: Buffer, replacements: readonly Replacement[]): Buffer {
  return replaceIn(bytes, longestFirst(replacements), true).out;
}

/** The same for one header value; headers are latin1 on the wire. */
export function replaceInText(text: string, replacements: readonly Replacement[]): string {
  return replaceInBytes(Buffer.from(text, "latin1"), replacements).toString("latin1");
}

function replaceIn(bytes: Buffer, ordered: readonly Replacement[], last: boolean): { out: Buffer; rest: Buffer } {
  const parts: Buffer[] = [];
  let at = 0;
  for (let next = findNext(bytes, at, ordered); next; next = findNext(bytes, at, ordered)) {
    // A longer one may still be arriving at the same place or before it.
    if (!last && mayBegin(bytes, next.index, ordered, next.found.from.length)) break;
    parts.push(bytes.subarray(at, next.index), next.found.to);
    next.found.onPut?.();
    at = next.index + next.found.from.length;
  }
  const keep = last ? bytes.length : holdFrom(bytes, at, ordered);
  parts.push(bytes.subarray(at, keep));
  return { out: Buffer.concat(parts), rest: Buffer.from(bytes.subarray(keep)) };
}

function findNext(bytes: Buffer, from: number, ordered: readonly Replacement[]) {
  let best: { index: number; found: Replacement } | undefined;
  for (const found of ordered) {
    const index = bytes.indexOf(found.from, from);
    if (index >= 0 && (!best || index < best.index)) best = { index, found };
  }
  return best;
}

/** True when a longer one could begin at this index and end beyond what is here. */
function mayBegin(bytes: Buffer, index: number, ordered: readonly Replacement[], longerThan: number): boolean {
  const tail = bytes.subarray(index);
  return ordered.some(
    ({ from }) => from.length > longerThan && from.length > tail.length && from.subarray(0, tail.length).equals(tail),
  );
}

/** The first place from which everything to the end may be the beginning of one. */
function holdFrom(bytes: Buffer, from: number, ordered: readonly Replacement[]): number {
  const longest = ordered[0]?.from.length ?? 0;
  for (let index = Math.max(from, bytes.length - longest + 1); index < bytes.length; index += 1) {
    if (mayBegin(bytes, index, ordered, 0)) return index;
  }
  return bytes.length;
}

function longestFirst(replacements: readonly Replacement[]): readonly Replacement[] {
  return [...replacements].sort((a, b) => b.from.length - a.from.length);
}
