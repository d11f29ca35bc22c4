import { createHash, type Hash } from "node:crypto";
import type { OperationPart } from "../drivers/driver.ts";

/** Output kept in memory while an operation is followed: enough for any tool's answer, whatever it writes. */
const HEAD_BYTES = 8 * 1024 * 1024;
const TAIL_BYTES = 64 * 1024;

/** All of an operation's output, or its head and tail when it is a flood. */
export type CollectedOutput = {
  readonly head: Buffer;
  readonly tail: Buffer;
  /** Bytes between head and tail that are not here. */
  readonly missing: number;
  /** SHA-256 of everything, hex; undefined when some of it could not be read. */
  readonly sha256: string | undefined;
};

type OutputPart = Extract<OperationPart, { type: "output" }>;

/** Takes parts in order; offsets may jump. */
export function createOutputCollector() {
  const head: Uint8Array[] = [];
  const hash: Hash = createHash("sha256");
  let headBytes = 0;
  let tail = Buffer.alloc(0);
  let next = 0;
  let broken = false;

  return {
    add(part: OutputPart): void {
      if (part.offset !== next) broken = true;
      next = part.offset + part.bytes.length;
      hash.update(part.bytes);
      const room = broken ? 0 : HEAD_BYTES - headBytes;
      const first = part.bytes.subarray(0, room);
      if (first.length > 0) {
        head.push(first);
        headBytes += first.length;
      }
      const rest = part.bytes.subarray(first.length);
      if (rest.length > 0) tail = Buffer.from(Buffer.concat([tail, rest]).subarray(-TAIL_BYTES));
    },
    end(totalBytes: number): CollectedOutput {
      return {
        head: Buffer.concat(head),
        tail,
        missing: Math.max(0, totalBytes - headBytes - tail.length),
        sha256: broken || next !== totalBytes ? undefined : hash.digest("hex"),
      };
    },
  };
}
