/** Looks for many texts in bytes at once. */

/** Where one of them stands, and which: its index in the list that was given. */
export type Found = { readonly index: number; readonly which: number };

/** In shorter bytes each text is looked for alone, which needs no table. */
const WORTH_A_TABLE = 4096;

/**
 * All texts in one pass: a window as long as the shortest one goes over the bytes, and its last two bytes tell how far it
 * may go on without passing the beginning of any (Wu and Manber, "A fast algorithm for multi-pattern searching", 1994).
 */
export class ByteSearch {
  private readonly texts: readonly Buffer[];
  private readonly window: number;
  private shifts: Uint8Array | undefined;
  /** The texts whose window ends with two bytes. */
  private endings: ReadonlyMap<number, readonly number[]> | undefined;

  /** Of those that stand at one place the first in the list is found. None may be empty. */
  constructor(texts: readonly Buffer[]) {
    this.texts = texts;
    this.window = texts.length === 0 ? 0 : Math.min(...texts.map((text) => text.length));
  }

  /** The first one at or behind an index. */
  next(bytes: Buffer, from: number): Found | undefined {
    return this.window < 2 || bytes.length - from < WORTH_A_TABLE
      ? this.oneByOne(bytes, from)
      : this.sweep(bytes, from);
  }

  private oneByOne(bytes: Buffer, from: number): Found | undefined {
    let best: Found | undefined;
    for (const [which, text] of this.texts.entries()) {
      const index = bytes.indexOf(text, from);
      if (index >= 0 && (!best || index < best.index)) best = { index, which };
    }
    return best;
  }

  private sweep(bytes: Buffer, from: number): Found | undefined {
    this.shifts ??= shiftsOf(this.texts, this.window);
    this.endings ??= endingsOf(this.texts, this.window);
    const { shifts, endings, texts, window } = this;
    for (let end = from + window - 1; end < bytes.length; ) {
      const pair = ((bytes[end - 1] ?? 0) << 8) | (bytes[end] ?? 0);
      const shift = shifts[pair] ?? 0;
      if (shift > 0) {
        end += shift;
        continue;
      }
      const index = end - window + 1;
      for (const which of endings.get(pair) ?? []) if (stands(texts[which], bytes, index)) return { index, which };
      end += 1;
    }
    return undefined;
  }
}

/** The first byte tells most of them apart without a call out of this language. */
function stands(text: Buffer | undefined, bytes: Buffer, index: number): boolean {
  if (text === undefined || text[0] !== bytes[index]) return false;
  return text.compare(bytes, index, Math.min(index + text.length, bytes.length)) === 0;
}

/** How far a window of this length may go on, by its last two bytes. */
function shiftsOf(texts: readonly Buffer[], window: number): Uint8Array {
  const shifts = new Uint8Array(65_536).fill(Math.min(window - 1, 255));
  for (const text of texts) {
    for (let end = 1; end < window; end += 1) {
      const pair = ((text[end - 1] ?? 0) << 8) | (text[end] ?? 0);
      shifts[pair] = Math.min(shifts[pair] ?? 0, window - 1 - end);
    }
  }
  return shifts;
}

function endingsOf(texts: readonly Buffer[], window: number): ReadonlyMap<number, readonly number[]> {
  const endings = new Map<number, number[]>();
  for (const [which, text] of texts.entries()) {
    const pair = ((text[window - 2] ?? 0) << 8) | (text[window - 1] ?? 0);
    endings.set(pair, [...(endings.get(pair) ?? []), which]);
  }
  return endings;
}
