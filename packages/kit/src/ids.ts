import { randomFillSync } from "node:crypto";

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/** 128 bits need 22 base58 digits; always padded to that, so that text order is time order. */
const ID_DIGITS = 22;
const COUNTER_MAX = 0xfff;

/**
 * A new id `<prefix>_<22 base58 digits>` from a UUIDv7 (RFC 9562): sorts by the millisecond it was made in, and
 * within one process also within a millisecond. 62 random bits make collisions between processes negligible.
 */
export const newId: IdSource = idSource(() => Date.now());

/** Makes a new id with the given prefix. */
export type IdSource = (prefix: string) => string;

/** `newId` for those who own a clock. Ids of one source sort in the order they were made, also when the clock steps back. */
export function idSource(nowMs: () => number): IdSource {
  let lastMs = 0;
  let counter = 0;
  return (prefix) => {
    // The 12 bits after the time count ids of the same millisecond (RFC 9562 method 1); a full counter or a clock
    // that steps back borrows from the next millisecond instead of breaking the order.
    const now = nowMs();
    if (now > lastMs) {
      lastMs = now;
      counter = 0;
    } else if (counter === COUNTER_MAX) {
      lastMs += 1;
      counter = 0;
    } else {
      counter += 1;
    }
    return `${prefix}_${base58(uuidV7(lastMs, counter))}`;
  };
}

/** The millisecond an id of this module was made in, or undefined when it is not one of them. */
export function idTimeMs(id: string): number | undefined {
  const digits = id.slice(id.lastIndexOf("_") + 1);
  if (digits.length !== ID_DIGITS) {
    return undefined;
  }
  let value = 0n;
  for (const digit of digits) {
    const index = BASE58.indexOf(digit);
    if (index < 0) {
      return undefined;
    }
    value = value * 58n + BigInt(index);
  }
  return Number(value >> 80n);
}

/** Random bytes are drawn in pools: one call for each id would cost more than all the rest of it. */
const pool = Buffer.alloc(8 * 512);
let used = pool.length;

/** The 128 bits in pieces of 16, most significant first: long division on them stays within exact numbers. */
const PIECES = 8;
const PIECE = 0x1_0000;
const pieces = new Uint16Array(PIECES);

/** 48 bits of time, version 7, 12 bits of counter, variant 2, 62 random bits (RFC 9562 5.7). */
function uuidV7(timeMs: number, counter: number): Uint16Array {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  pieces[0] = timeMs / (PIECE * PIECE);
  pieces[1] = (timeMs / PIECE) % PIECE;
  pieces[2] = timeMs % PIECE;
  pieces[3] = 0x7000 | counter;
  for (let piece = 4; piece < PIECES; piece += 1) {
    pieces[piece] = pool.readUInt16BE(used);
    used += 2;
  }
  pieces[4] = 0x8000 | ((pieces[4] ?? 0) & 0x3fff);
  return pieces;
}

/** 58^6 times 2^16 is below 2^53, so that six digits are had for one division of the long number. */
const CHUNK_DIGITS = 6;
const CHUNK = 58 ** CHUNK_DIGITS;

const digits = Buffer.alloc(ID_DIGITS);
const DIGIT_CODES = Uint8Array.from(BASE58, (digit) => digit.charCodeAt(0));

/** Written into bytes and read as one flat string: one grown digit by digit would be flattened by its first reader. */
function base58(value: Uint16Array): string {
  for (let at = ID_DIGITS; at > 0; ) {
    let chunk = 0;
    for (let piece = 0; piece < PIECES; piece += 1) {
      const part = chunk * PIECE + (value[piece] ?? 0);
      const quotient = Math.floor(part / CHUNK);
      value[piece] = quotient;
      chunk = part - quotient * CHUNK;
    }
    for (let digit = 0; digit < CHUNK_DIGITS && at > 0; digit += 1) {
      at -= 1;
      const rest = Math.floor(chunk / 58);
      digits[at] = DIGIT_CODES[chunk - rest * 58] ?? 0;
      chunk = rest;
    }
  }
  return digits.toString("latin1");
}
