/** What the model is shown of one result. */
export const MODEL_BYTES = 100 * 1024;

/** Bytes as text that fits: head and tail kept, and in between how many bytes were left out. */
export type BoundedText = { readonly text: string; readonly truncated: boolean };

/**
 * Invalid UTF-8 becomes U+FFFD; cuts move to a character's edge. `missing` counts bytes that were lost before they
 * came here (between `head` and `tail`).
 */
export function boundedText(
  head: Buffer,
  tail: Buffer = Buffer.alloc(0),
  missing = 0,
  limit = MODEL_BYTES,
): BoundedText {
  const all = missing === 0 ? Buffer.concat([head, tail]) : undefined;
  if (all && all.length <= limit) return { text: all.toString("utf8"), truncated: false };
  const half = Math.floor(limit / 2);
  const front = (all ?? head).subarray(0, half);
  const source = all ?? (tail.length > 0 ? tail : head);
  const back = source.subarray(Math.max(0, source.length - half));
  const start = front.subarray(0, characterEdge(front, front.length));
  const end = back.subarray(characterStart(back));
  const total = head.length + tail.length + missing;
  const leftOut = total - start.length - end.length;
  return {
    text: `${start.toString("utf8")}\n[… ${leftOut} bytes left out …]\n${end.toString("utf8")}`,
    truncated: true,
  };
}

/** The first byte that begins a character, looking at most three bytes ahead. */
function characterStart(bytes: Buffer): number {
  for (let at = 0; at < 4 && at < bytes.length; at++) if (((bytes[at] ?? 0) & 0xc0) !== 0x80) return at;
  return 0;
}

/** The last place at or before `end` where a character is complete. */
function characterEdge(bytes: Buffer, end: number): number {
  for (let back = 1; back <= 4 && back <= end; back++) {
    const byte = bytes[end - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length <= back ? end : end - back;
  }
  return end;
}
