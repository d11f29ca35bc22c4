/**
 * The part of a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 3) that says which host the client really means. Pure; reads
 * bytes that a hand chose, so every length is checked against what is there.
 */

/** What the first bytes of a connection say. */
export type Hello =
  | { readonly kind: "incomplete" }
  | { readonly kind: "other" }
  | { readonly kind: "malformed" }
  /** `encrypted` when the real name may be hidden (Encrypted Client Hello). */
  | { readonly kind: "tls"; readonly serverName: string | undefined; readonly encrypted: boolean };

const HANDSHAKE = 0x16;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ENCRYPTED_CLIENT_HELLO = 0xfe0d;
/** Longer than any real ClientHello, post-quantum key shares included. */
export const MAX_HELLO_BYTES = 32 * 1024;

/** Reads as much as has arrived. */
export function readClientHello(bytes: Buffer): Hello {
  if (bytes.length === 0) return { kind: "incomplete" };
  if (bytes[0] !== HANDSHAKE) return { kind: "other" };
  const handshake = joinRecords(bytes);
  if (handshake === undefined) return { kind: "malformed" };
  if (handshake.length < 4) return { kind: "incomplete" };
  const length = handshake.readUIntBE(1, 3);
  if (handshake[0] !== CLIENT_HELLO || length > MAX_HELLO_BYTES) return { kind: "malformed" };
  if (handshake.length < 4 + length) return { kind: "incomplete" };
  try {
    return readBody(new Reader(handshake.subarray(4, 4 + length)));
  } catch {
    return { kind: "malformed" };
  }
}

/** The handshake bytes of all records that arrived, the last perhaps in part; undefined when they are not TLS. */
function joinRecords(bytes: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; at + 5 <= bytes.length; ) {
    const length = bytes.readUInt16BE(at + 3);
    if (bytes[at] !== HANDSHAKE || bytes[at + 1] !== 3 || length === 0) {
      return parts.length > 0 ? Buffer.concat(parts) : undefined;
    }
    parts.push(bytes.subarray(at + 5, at + 5 + length));
    at += 5 + length;
  }
  return Buffer.concat(parts);
}

function readBody(body: Reader): Hello {
  body.skip(2 + 32);
  body.block(1);
  body.block(2);
  body.block(1);
  let serverName: string | undefined;
  let encrypted = false;
  if (body.left > 0) {
    const extensions = new Reader(body.block(2));
    while (extensions.left > 0) {
      const type = extensions.number(2);
      const data = new Reader(extensions.block(2));
      if (type === SERVER_NAME) serverName = readServerName(new Reader(data.block(2)));
      if (type === ENCRYPTED_CLIENT_HELLO) encrypted = true;
    }
  }
  return { kind: "tls", serverName, encrypted };
}

function readServerName(names: Reader): string {
  if (names.number(1) !== 0) throw new RangeError("not a host name");
  return names.block(2).toString("latin1");
}

class Reader {
  private readonly bytes: Buffer;
  private at = 0;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  get left(): number {
    return this.bytes.length - this.at;
  }
  skip(count: number): void {
    if (count > this.left) throw new RangeError("too short");
    this.at += count;
  }
  number(size: number): number {
    const from = this.at;
    this.skip(size);
    return this.bytes.readUIntBE(from, size);
  }
  /** A vector with its length in front. */
  block(lengthSize: number): Buffer {
    const length = this.number(lengthSize);
    const from = this.at;
    this.skip(length);
    return this.bytes.subarray(from, from + length);
  }
}
