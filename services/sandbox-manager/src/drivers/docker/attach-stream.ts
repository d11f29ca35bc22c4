import type { Socket } from "node:net";
import { Duplex } from "node:stream";

const HEADER_BYTES = 8;
const STDERR = 2;
/** A header that claims more is no header: the stream is out of step and useless. */
const MAX_FRAME_BYTES = 16 * 1024 * 1024;

/**
 * The engine's attach stream as a plain pair of stdin and stdout. Outgoing bytes go as they are; incoming ones come
 * in frames of an 8-byte header {stream u8, 0, 0, 0, length u32 big endian} (Docker API, "Attach to a container").
 * What the agent writes to stderr is handed to `onStderr`.
 */
export function plainStream(hijacked: Socket, onStderr: (text: string) => void): Duplex {
  let rest: Buffer = Buffer.alloc(0);
  const stream = new Duplex({
    read() {
      hijacked.resume();
    },
    write(chunk: Buffer, _encoding, done) {
      if (hijacked.write(chunk)) done();
      else hijacked.once("drain", () => done());
    },
    destroy(error, done) {
      hijacked.destroy();
      done(error);
    },
  });
  hijacked.on("data", (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= HEADER_BYTES) {
      const length = rest.readUInt32BE(4);
      if (length > MAX_FRAME_BYTES) {
        stream.destroy(new Error("the engine's attach stream is out of step"));
        return;
      }
      if (rest.length < HEADER_BYTES + length) return;
      const content = rest.subarray(HEADER_BYTES, HEADER_BYTES + length);
      const kind = rest[0];
      rest = rest.subarray(HEADER_BYTES + length);
      if (kind === STDERR) onStderr(content.toString("utf8").trimEnd());
      else if (!stream.push(content)) hijacked.pause();
    }
  });
  hijacked.on("error", (error: Error) => stream.destroy(error));
  hijacked.on("end", () => stream.destroy());
  hijacked.on("close", () => stream.destroy());
  return stream;
}
