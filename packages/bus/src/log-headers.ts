/**
 * Headers of frames, written as one text. The client's own headers check, fold and look up every name that is set, which
 * costs as much as everything else in handing a frame over.
 */
import { MsgHdrsImpl } from "@nats-io/transport-node";
import type { FrameToAppend } from "./frame-to-append.ts";
import { headerNames } from "./subjects.ts";

/** Headers that are only ever sent. */
class WrittenHeaders extends MsgHdrsImpl {
  readonly #text: string;

  constructor(text: string) {
    super();
    this.#text = text;
  }

  override toString(): string {
    return this.#text;
  }

  override encode(): Uint8Array {
    return Buffer.from(this.#text);
  }
}

/** A frame's place in an atomic batch. */
export interface InGroup {
  readonly id: string;
  /** 1 for the first. */
  readonly sequence: number;
  readonly isLast: boolean;
}

/** A frame's headers: those of the log, and the condition that makes the publish create-only. */
export function frameHeaders(frame: FrameToAppend, group?: InGroup): MsgHdrsImpl {
  const { position, count, epoch, status, traceparent } = frame;
  let text =
    "NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 0\r\n" +
    `${headerNames.position}: ${position}\r\n${headerNames.count}: ${count}\r\n` +
    `${headerNames.epoch}: ${epoch}\r\n${headerNames.status}: ${status}\r\n`;
  if (traceparent !== undefined) text += `${headerNames.traceparent}: ${oneLine(traceparent)}\r\n`;
  if (group !== undefined) text += `Nats-Batch-Id: ${group.id}\r\nNats-Batch-Sequence: ${group.sequence}\r\n`;
  if (group?.isLast) text += "Nats-Batch-Commit: 1\r\n";
  return new WrittenHeaders(`${text}\r\n`);
}

/** What a caller sent must not begin a header of its own. */
function oneLine(value: string): string {
  if (/[\r\n]/.test(value)) throw new RangeError("a header's value is one line");
  return value.trim();
}
