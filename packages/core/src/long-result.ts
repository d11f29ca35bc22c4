/**
 * Answers of tools that are longer than what the log's events show. The log keeps all of one beside the event, which
 * shows head and tail; what stands here lets the model read on.
 */
import { type ContentBlock, plainText, type TextBlock, text } from "./content.ts";
import { isUnknownEvent, type SessionEvent, type UnknownEvent } from "./events.ts";

/** A text of a tool's answer over this many bytes of UTF-8 is shown by its head and tail, half of this each. */
export const shownTextBytes = 64 * 1024;

const opening = "[Only the beginning and the end of this result are shown above.";

/** Tells the model that a result is shown in part, and how to read the rest. Stands behind the result itself. */
export function longResultNote(toolUseId: string, bytes: number): TextBlock {
  const input = JSON.stringify({ result_of: toolUseId, offset: shownTextBytes / 2 });
  return text(
    `${opening} It has ${bytes} bytes, all of them kept. Read on with the recall tool: ${input}; add "text" to go to the next place that has it.]`,
  );
}

/** True where the log below a position has a result with such a note: from then on the model needs the tool it names. */
export function hasLongResult(events: readonly (SessionEvent | UnknownEvent)[], contextPosition: number): boolean {
  for (const event of events) {
    if (event.position >= contextPosition) return false;
    if (!isUnknownEvent(event) && event.type === "agent.mcp_tool_result" && isNote(event.content?.at(-1))) return true;
  }
  return false;
}

function isNote(block: ContentBlock | undefined): boolean {
  return block?.type === "text" && block.text.startsWith(opening);
}

/** The text of a result without the note. */
export function resultText(content: readonly ContentBlock[]): string {
  return plainText(isNote(content.at(-1)) ? content.slice(0, -1) : content);
}

/** Which part of a result is asked for. */
export interface ResultPart {
  /** First byte. */
  readonly offset: number;
  /** Begins shortly before the next place that has this, in lower case; empty begins at `offset`. */
  readonly text: string;
}

/** Shown before a place that was looked for, in bytes. */
const leadBytes = 200;
/** Room for the words before a part, in bytes. */
const headingBytes = 256;
const minPartBytes = 64;

/** A part of a result as the model reads it, in at most `maxBytes`, and never more than is shown whole. */
export function resultPart(whole: string, { offset, text: wanted }: ResultPart, maxBytes: number): string {
  const bytes = new TextEncoder().encode(whole);
  const first = characterAt(bytes, Math.min(offset, bytes.length));
  const from = wanted === "" ? first : placeOf(bytes, wanted, first);
  if (from === undefined) return `From byte ${first} on nothing has that text. The result has ${bytes.length} bytes.`;
  const length = Math.max(minPartBytes, Math.min(shownTextBytes, maxBytes) - headingBytes);
  const to = characterAt(bytes, Math.min(bytes.length, from + length));
  const next = to === bytes.length ? "This is its end." : `Go on with offset ${to}.`;
  return `[Bytes ${from} to ${to} of ${bytes.length}. ${next}]\n${decoder.decode(bytes.subarray(from, to))}`;
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function placeOf(bytes: Uint8Array, wanted: string, first: number): number | undefined {
  const rest = decoder.decode(bytes.subarray(first));
  const index = rest.toLowerCase().indexOf(wanted);
  if (index < 0) return undefined;
  const before = new TextEncoder().encode(rest.slice(0, index)).length;
  return characterAt(bytes, first + Math.max(0, before - leadBytes));
}

/** The last place at or before an index where a character begins. */
function characterAt(bytes: Uint8Array, index: number): number {
  let at = index;
  while (at > 0 && ((bytes[at] ?? 0) & 0xc0) === 0x80) at -= 1;
  return at;
}
