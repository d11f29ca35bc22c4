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

function random64(): bigint {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += 8;
  return pool.readBigUInt64BE(used - 8);
}

function uuidV7(timeMs: number, counter: number): bigint {
  const random = random64() & 0x3fff_ffff_ffff_ffffn;
  const version = 0x7n;
  const variant = 0b10n;
  return (BigInt(timeMs) << 80n) | (version << 76n) | (BigInt(counter) << 64n) | (variant << 62n) | random;
}

/** 58^8 fits a plain number, so that eight digits are had for one division of the long one. */
const CHUNK_DIGITS = 8;
const CHUNK = 58n ** 8n;

const digits = Buffer.alloc(ID_DIGITS);

/** Written into bytes and read as one flat string: one grown digit by digit would be flattened by its first reader. */
function base58(value: bigint): string {
  let rest = value;
  let at = ID_DIGITS;
  while (at > 0) {
    let chunk = Number(rest % CHUNK);
    rest /= CHUNK;
    for (let digit = 0; digit < CHUNK_DIGITS && at > 0; digit += 1) {
      at -= 1;
      digits[at] = BASE58.charCodeAt(chunk % 58);
      chunk = Math.floor(chunk / 58);
    }
  }
  return digits.toString("latin1");
}
