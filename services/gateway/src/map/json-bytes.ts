/** JSON that travels between services as bytes. It was validated on the way in, so on the way out it is what it was. */
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** JSON bytes of a value. */
export function toJsonBytes(value: object): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}

/** The value of JSON bytes; `fallback` for none. */
export function fromJsonBytes<T>(bytes: Uint8Array, fallback: T): T {
  // Written by this service in the shape T, read back unchanged.
  return bytes.length === 0 ? fallback : (JSON.parse(decoder.decode(bytes)) as T);
}

/** RFC 3339 with milliseconds, in UTC. */
export function rfc3339(time: Timestamp | undefined): string {
  return (time === undefined ? new Date(0) : timestampDate(time)).toISOString();
}

/** RFC 3339, or null when absent. */
export function rfc3339OrNull(time: Timestamp | undefined): string | null {
  return time === undefined ? null : rfc3339(time);
}
