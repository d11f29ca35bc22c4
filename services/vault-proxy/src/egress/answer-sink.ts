/**
 * The end of an answer's way to the client. TLS takes what an upstream sends apart into records of 16 KiB; what comes
 * while the bytes before it are on their way is sent on together. Nothing waits for more to come.
 *
 * A long answer goes by chunks that are made here, each in the same memory: as Node makes them, each is four pieces, which
 * are put together once more for TLS and end in a record of their own.
 */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Writable } from "node:stream";
import { bytesPassed } from "../http/young-garbage.ts";
import type { Replacer } from "./replace.ts";

/** Bytes that wait for those before them, before the upstream has to. */
const WAITING_BYTES = 128 * 1024;
/** From so many on, bytes go by chunks made here. */
const LONG_BYTES = 32 * 1024;
/** One chunk with its frame: a whole number of TLS records. */
const CHUNK_BYTES = 128 * 1024;
const SIZE_DIGITS = 6;
const HEAD_BYTES = SIZE_DIGITS + 2;
const LINE_END = "\r\n";

/** A stream into a response whose head was written. `onBytes` is told what goes out, which `scrub` has changed. */
export function answerSink(response: ServerResponse, onBytes: (length: number) => void, scrub?: Replacer): Writable {
  let memory: Buffer | undefined;
  const sink = new Writable({
    highWaterMark: WAITING_BYTES,
    writev(chunks, done) {
      const parts: Buffer[] = chunks.map(({ chunk }) => (scrub ? scrub.next(chunk) : chunk));
      const length = parts.reduce((sum, part) => sum + part.length, 0);
      if (length === 0) return done();
      onBytes(length);
      bytesPassed(length);
      const { socket } = response;
      if (length >= LONG_BYTES && response.chunkedEncoding && socket) {
        memory ??= Buffer.allocUnsafeSlow(CHUNK_BYTES);
        sendChunks(socket, memory, parts, done);
        return;
      }
      const all = length < LONG_BYTES ? [Buffer.concat(parts)] : parts;
      for (const part of all.slice(0, -1)) response.write(part);
      response.write(all.at(-1), done);
    },
    final(done) {
      const last = scrub?.end() ?? Buffer.alloc(0);
      onBytes(last.length);
      if (last.length > 0) response.write(last);
      response.end(done);
    },
    destroy(error, done) {
      response.off("close", gone);
      if (error) response.destroy();
      done(error);
    },
  });
  const gone = () => {
    if (!response.writableFinished) sink.destroy(new Error("the client closed the connection"));
  };
  if (response.destroyed) gone();
  else response.once("close", gone);
  return sink;
}

/** One chunk (RFC 9112 7.1) after the other; the memory is used again once the one before is out. */
function sendChunks(socket: Socket, memory: Buffer, parts: Buffer[], done: (error?: Error | null) => void): void {
  let at = 0;
  let from = 0;
  const next = (error?: Error | null) => {
    if (error || at === parts.length) return done(error);
    let end = HEAD_BYTES;
    while (at < parts.length && end < memory.length - LINE_END.length) {
      const part = parts[at] ?? memory;
      const copied = part.copy(memory, end, from, from + memory.length - LINE_END.length - end);
      end += copied;
      from += copied;
      if (from < part.length) continue;
      at += 1;
      from = 0;
    }
    memory.write((end - HEAD_BYTES).toString(16).padStart(SIZE_DIGITS, "0") + LINE_END, 0, "latin1");
    memory.write(LINE_END, end, "latin1");
    socket.write(memory.subarray(0, end + LINE_END.length), next);
  };
  next();
}
