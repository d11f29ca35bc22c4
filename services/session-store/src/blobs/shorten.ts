/**
 * What an event keeps of a big text: head and tail, and between them how much was left out. Only answers of tools are
 * shortened: whatever else a log holds, the model must see whole, and a frame's limit bounds it.
 */
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { shownTextBytes } from "@manyhands/core";
import { type BlobRef, BlobRefSchema, type ContentBlock, type Event } from "@manyhands/protocol";

/** A text over this many bytes of UTF-8 goes beside the log. */
export const inlineBytes = shownTextBytes;
/** Bytes that the event keeps of each end. */
export const shownBytes = shownTextBytes / 2;

/** A text to be kept beside the log. */
export interface Blob {
  /** Hex. */
  readonly sha256: string;
  readonly bytes: Buffer;
}

/** True when an event has a text to be kept beside the log. */
export function hasBigText(event: Event): boolean {
  return answerOf(event)?.content.some((block) => bigText(block) !== undefined) ?? false;
}

/** The event as the log keeps it, and its big texts. The given event is not changed. */
export function shorten(event: Event): { readonly event: Event; readonly blobs: readonly Blob[] } {
  const answer = answerOf(event);
  if (answer === undefined) return { event, blobs: [] };
  const blobs: Blob[] = [];
  const refs: BlobRef[] = [];
  const content = answer.content.map((block, index) => {
    const bytes = bigText(block);
    if (bytes === undefined) return block;
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const [head, tail] = endsOf(bytes);
    blobs.push({ sha256, bytes });
    const shown = { headBytes: head.length, tailBytes: tail.length };
    refs.push(create(BlobRefSchema, { block: index, sha256, size: BigInt(bytes.length), ...shown }));
    const leftOut = bytes.length - head.length - tail.length;
    return withText(block, `${head.toString("utf8")}\n[… ${leftOut} bytes left out …]\n${tail.toString("utf8")}`);
  });
  return { event: withContent({ ...event, blobs: refs }, content), blobs };
}

/** The event with whole texts in place of the short ones; `texts` by index of the block. */
export function restore(event: Event, texts: ReadonlyMap<number, string>): Event {
  const answer = answerOf(event);
  if (answer === undefined) return event;
  const content = answer.content.map((block, index) => {
    const text = texts.get(index);
    return text === undefined ? block : withText(block, text);
  });
  return withContent(event, content);
}

function answerOf({ payload }: Event) {
  switch (payload.case) {
    case "agentToolResult":
    case "agentMcpToolResult":
    case "userToolResult":
    case "userCustomToolResult":
      return payload.value;
    default:
      return undefined;
  }
}

function withContent(event: Event, content: ContentBlock[]): Event {
  const { payload } = event;
  switch (payload.case) {
    case "agentToolResult":
      return { ...event, payload: { case: payload.case, value: { ...payload.value, content } } };
    case "agentMcpToolResult":
      return { ...event, payload: { case: payload.case, value: { ...payload.value, content } } };
    case "userToolResult":
      return { ...event, payload: { case: payload.case, value: { ...payload.value, content } } };
    case "userCustomToolResult":
      return { ...event, payload: { case: payload.case, value: { ...payload.value, content } } };
    default:
      return event;
  }
}

function bigText({ kind }: ContentBlock): Buffer | undefined {
  if (kind.case !== "text" || kind.value.text.length * 3 <= inlineBytes) return undefined;
  const bytes = Buffer.from(kind.value.text, "utf8");
  return bytes.length > inlineBytes ? bytes : undefined;
}

function withText(block: ContentBlock, text: string): ContentBlock {
  const { kind } = block;
  return kind.case === "text" ? { ...block, kind: { case: "text", value: { ...kind.value, text } } } : block;
}

/** First and last bytes, cut where a character begins. */
function endsOf(bytes: Buffer): readonly [Buffer, Buffer] {
  const inside = (at: number) => ((bytes[at] ?? 0) & 0xc0) === 0x80;
  let end = shownBytes;
  while (end > 0 && inside(end)) end -= 1;
  let start = bytes.length - shownBytes;
  while (start < bytes.length && inside(start)) start += 1;
  return [bytes.subarray(0, end), bytes.subarray(start)];
}
