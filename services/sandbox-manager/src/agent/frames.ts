import { crc32 } from "node:zlib";

/**
 * Framing of the stream to the in-hand agent; the other half is `agent/wire.c`, which tells why it is so.
 * A frame is payload + CRC-32, byte-stuffed (7E → 7D 5E, 7D → 7D 5D), ended by 7E.
 */
const DELIMITER = 0x7e;
const ESCAPE = 0x7d;
const FLIP = 0x20;
const CRC_BYTES = 4;

/** Largest payload either side accepts. */
export const MAX_PAYLOAD_BYTES = 65_536;
const MAX_STUFFED_BYTES = 2 * (MAX_PAYLOAD_BYTES + CRC_BYTES);

/** Sent first on a new stream: whatever half frame a former writer left ends here. */
export const CLEAR_LINE: Uint8Array = Buffer.from([DELIMITER]);

/** The bytes of one frame. */
export function encodeFrame(payload: Uint8Array): Buffer {
  if (payload.length > MAX_PAYLOAD_BYTES)
    throw new RangeError(`a frame holds ${MAX_PAYLOAD_BYTES} bytes, not ${payload.length}`);
  const checked = Buffer.allocUnsafe(payload.length + CRC_BYTES);
  checked.set(payload);
  checked.writeUInt32LE(crc32(payload), payload.length);
  let special = 0;
  for (const byte of checked) if (byte === DELIMITER || byte === ESCAPE) special++;
  const out = Buffer.allocUnsafe(checked.length + special + 1);
  let to = 0;
  for (const byte of checked) {
    if (byte === DELIMITER || byte === ESCAPE) {
      out[to++] = ESCAPE;
      out[to++] = byte ^ FLIP;
    } else {
      out[to++] = byte;
    }
  }
  out[to] = DELIMITER;
  return out;
}

/** Cuts a stream into payloads. Damaged frames are counted and dropped; the next delimiter is a fresh start. */
export function createFrameDecoder(
  onPayload: (payload: Buffer) => void,
  onDamaged: () => void,
): (chunk: Buffer) => void {
  let kept: Buffer[] = [];
  let keptBytes = 0;
  const end = (stuffed: Buffer) => {
    if (stuffed.length === 0) return;
    const payload = stuffed.length > MAX_STUFFED_BYTES ? undefined : checkFrame(stuffed);
    if (payload) onPayload(payload);
    else onDamaged();
  };
  return (chunk) => {
    let from = 0;
    for (;;) {
      const at = chunk.indexOf(DELIMITER, from);
      if (at < 0) break;
      const last = chunk.subarray(from, at);
      const whole = keptBytes === 0 ? last : Buffer.concat([...kept, last]);
      kept = [];
      keptBytes = 0;
      from = at + 1;
      end(whole);
    }
    const rest = chunk.subarray(from);
    // An endless frame is not remembered beyond what a good one can be; it fails its checksum when it ends.
    if (rest.length > 0 && keptBytes <= MAX_STUFFED_BYTES) {
      kept.push(rest);
      keptBytes += rest.length;
    }
  };
}

function checkFrame(stuffed: Buffer): Buffer | undefined {
  const plain = unstuff(stuffed);
  if (!plain || plain.length < CRC_BYTES) return undefined;
  const payload = plain.subarray(0, plain.length - CRC_BYTES);
  return crc32(payload) === plain.readUInt32LE(payload.length) ? payload : undefined;
}

function unstuff(stuffed: Buffer): Buffer | undefined {
  if (!stuffed.includes(ESCAPE)) return stuffed;
  const out = Buffer.allocUnsafe(stuffed.length);
  let to = 0;
  for (let i = 0; i < stuffed.length; i++) {
    const byte = stuffed[i] ?? 0;
    if (byte !== ESCAPE) {
      out[to++] = byte;
      continue;
    }
    const next = stuffed[++i];
    if (next === undefined) return undefined;
    out[to++] = next ^ FLIP;
  }
  return out.subarray(0, to);
}
