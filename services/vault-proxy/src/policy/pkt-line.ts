/** Git's pkt-lines: four hexadecimal digits with the length, then so many bytes less four. */

/** One line's bytes; undefined for the flush that ends a list. */
export type PktLine = { readonly data: Buffer | undefined; readonly end: number };

/** The line at `from`; `more` when it is not all there, `bad` when it is none. */
export function pktLineAt(bytes: Buffer, from: number): PktLine | "more" | "bad" {
  if (bytes.byteLength < from + 4) return "more";
  const digits = bytes.toString("latin1", from, from + 4);
  if (!/^[0-9a-fA-F]{4}$/.test(digits)) return "bad";
  const length = Number.parseInt(digits, 16);
  if (length === 0) return { data: undefined, end: from + 4 };
  if (length < 4) return "bad";
  const end = from + length;
  return bytes.byteLength < end ? "more" : { data: bytes.subarray(from + 4, end), end };
}
