/** Cuts a stream of byte strings into chunks of a bounded size; small ones are put together. */
export async function* chunksOf(parts: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Uint8Array> {
  let chunk = new Uint8Array(maxBytes);
  let used = 0;
  for await (const part of parts) {
    for (let at = 0; at < part.length; ) {
      const taken = part.subarray(at, at + maxBytes - used);
      chunk.set(taken, used);
      used += taken.length;
      at += taken.length;
      if (used < maxBytes) continue;
      yield chunk;
      chunk = new Uint8Array(maxBytes);
      used = 0;
    }
  }
  if (used > 0) yield chunk.subarray(0, used);
}
