/** A value as UTF-8 JSON. */
export function encodeJson(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** Parses what `encodeJson` of this service wrote; the store is ours alone, so the shape is trusted. */
export function decodeJson<T extends object>(bytes: Uint8Array): T {
  return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as T;
}
