/**
 * Walks over the fields of an encoded message without making anything of them. The runtime's reader does the same with a
 * view, a text decoder and 64-bit words for each message, which is most of the time where a hundred thousand are skimmed.
 */

const varint = 0;
const fixed64 = 1;
const lengthDelimited = 2;
const fixed32 = 5;

/** A cursor over one message. Throws RangeError where the bytes are no message. */
export class WireCursor {
  /** Number of the field under the cursor. */
  field = 0;
  readonly #bytes: Uint8Array;
  #at = 0;
  #wireType = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Moves to the next field, whose value must then be taken or skipped; false at the end. */
  next(): boolean {
    if (this.#at >= this.#bytes.length) return false;
    const tag = this.#varint();
    this.field = Math.floor(tag / 8);
    this.#wireType = tag % 8;
    if (this.field === 0) throw new RangeError("no field has number 0");
    return true;
  }

  /** The field's value as a number. */
  number(): number {
    if (this.#wireType !== varint) throw new RangeError(`field ${this.field} is no number`);
    return this.#varint();
  }

  /** The field's bytes: a view. */
  bytes(): Uint8Array {
    const start = this.#length();
    return this.#bytes.subarray(start, this.#at);
  }

  /** The field's text. */
  text(): string {
    const start = this.#length();
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + start, this.#at - start).toString("utf8");
  }

  /** Passes over the field's value. */
  skip(): void {
    if (this.#wireType === varint) this.#varint();
    else if (this.#wireType === lengthDelimited) this.#length();
    else if (this.#wireType === fixed64) this.#move(8);
    else if (this.#wireType === fixed32) this.#move(4);
    else throw new RangeError(`wire type ${this.#wireType} is not known`);
  }

  /** Passes over a length and what it spans; answers where that begins. */
  #length(): number {
    if (this.#wireType !== lengthDelimited) throw new RangeError(`field ${this.field} has no length`);
    const length = this.#varint();
    const start = this.#at;
    this.#move(length);
    return start;
  }

  #move(length: number): void {
    this.#at += length;
    if (this.#at > this.#bytes.length) throw new RangeError("the message is cut");
  }

  /** At most ten bytes; numbers over 2^53 lose their last digits, which no field that is looked at has. */
  #varint(): number {
    let [value, factor] = [0, 1];
    for (let count = 0; count < 10; count += 1) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) throw new RangeError("the message is cut");
      this.#at += 1;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 128;
    }
    throw new RangeError("a number is longer than ten bytes");
  }
}
