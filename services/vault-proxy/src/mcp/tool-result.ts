/** A tool's answer as MCP has it → content blocks of the public API. Pure; bounded; secrets of the call are taken out. */
import { boundText, type ContentBlock } from "@manyhands/core";
import { asObject, type JsonObject } from "./json-rpc.ts";

/** What a tool answered. */
export type ToolResult = { readonly content: readonly ContentBlock[]; readonly isError: boolean };

/** Bounds of one answer. */
export const RESULT_LIMITS = {
  /** Content blocks. */
  blocks: 100,
  /** Bytes of all texts that an event can hold as they are; beyond it they are one text, which goes beside the log. */
  apartBytes: 160 * 1024,
  /** Bytes of text that are kept; beyond it the middle is left out. */
  textBytes: 4 * 1024 * 1024,
  /** Bytes of text as JSON, where escapes count: what fits a message between the services. */
  jsonBytes: 7 * 1024 * 1024,
  /** Base64 characters of all pictures and documents. */
  dataChars: 200 * 1024,
} as const;

const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

/** The result of `tools/call`; `scrub` takes the call's own credential out of any text. */
export function toolResult(result: JsonObject, scrub: (text: string) => string): ToolResult {
  const raw = Array.isArray(result.content) ? result.content : [];
  const blocks: ContentBlock[] = [];
  let room = RESULT_LIMITS.dataChars;
  for (const item of raw.slice(0, RESULT_LIMITS.blocks)) {
    const block = blockOf(asObject(item) ?? {}, room);
    if (block.type === "image" || block.type === "document") {
      room -= block.source.type === "base64" ? block.source.data.length : 0;
    }
    blocks.push(block.type === "text" ? { type: "text", text: scrub(block.text) } : block);
  }
  if (raw.length > RESULT_LIMITS.blocks)
    blocks.push(note(`${raw.length - RESULT_LIMITS.blocks} more parts were left out`));
  // Without content the structured form is all there is.
  if (blocks.length === 0 && asObject(result.structuredContent)) {
    blocks.push({ type: "text", text: scrub(JSON.stringify(result.structuredContent)) });
  }
  return { content: boundTexts(blocks), isError: result.isError === true };
}

/** Takes a secret out of text, in the spellings in which a server could echo it. */
export function scrubber(secret: string): (text: string) => string {
  if (secret.length < 8) return (text) => text;
  const spellings = [...new Set([secret, ...encodings(secret)])].toSorted((a, b) => b.length - a.length);
  return (text) => spellings.reduce((left, spelling) => left.replaceAll(spelling, "[redacted]"), text);
}

/** Base64 at each of the three offsets without the characters its neighbours share, hex and percent. */
function encodings(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const base64 = [0, 1, 2].flatMap((offset) => {
    const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
    const from = offset === 0 ? 0 : offset + 1;
    const whole = Math.floor((shifted.length * 8) / 6);
    return (["base64", "base64url"] as const).map((form) => shifted.toString(form).slice(from, whole));
  });
  const hex = bytes.toString("hex");
  return [...base64.filter((text) => text.length >= 8), hex, hex.toUpperCase(), encodeURIComponent(secret)];
}

function blockOf(item: JsonObject, room: number): ContentBlock {
  switch (item.type) {
    case "text":
      return { type: "text", text: typeof item.text === "string" ? item.text : "" };
    case "image":
      return mediaOf(item.data, item.mimeType, room);
    case "resource": {
      const resource = asObject(item.resource) ?? {};
      if (typeof resource.text === "string") return { type: "text", text: resource.text };
      return mediaOf(resource.blob, resource.mimeType, room);
    }
    case "resource_link":
      return note(`link to ${String(item.uri).slice(0, 2048)}`);
    default:
      return note(`a part of type ${String(item.type).slice(0, 64)} cannot be shown`);
  }
}

function mediaOf(data: unknown, mimeType: unknown, room: number): ContentBlock {
  const media_type = typeof mimeType === "string" ? mimeType.toLowerCase() : "";
  const type = IMAGES.has(media_type) ? "image" : media_type === "application/pdf" ? "document" : undefined;
  if (type === undefined || typeof data !== "string" || !/^[A-Za-z0-9+/]*={0,2}$/.test(data)) {
    return note(`data of type ${media_type.slice(0, 64) || "unknown"} cannot be shown`);
  }
  if (data.length > room) return note(`${media_type} of ${data.length} characters is too big to be shown`);
  return { type, source: { type: "base64", media_type, data } };
}

function note(text: string): ContentBlock {
  return { type: "text", text: `[${text}]` };
}

function boundTexts(blocks: readonly ContentBlock[]): readonly ContentBlock[] {
  const texts = blocks.flatMap((block) => (block.type === "text" ? [block.text] : []));
  const all = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (all <= RESULT_LIMITS.apartBytes) return blocks;
  const whole = texts.join("\n");
  const text = withinLimits(whole);
  const lost = note(`the answer has ${all} bytes of text, which is more than can be kept: its middle is lost`);
  const others = blocks.filter((block) => block.type !== "text");
  return [{ type: "text", text }, ...(text === whole ? [] : [lost]), ...others];
}

/** Escapes make a text at most six times as long, so a quarter of the limit always fits. */
function withinLimits(whole: string): string {
  const { textBytes, jsonBytes } = RESULT_LIMITS;
  const fits = (text: string) => Buffer.byteLength(JSON.stringify(text)) <= jsonBytes;
  const tried = [textBytes, textBytes / 2].map((bytes) => boundText(whole, bytes)).find(fits);
  return tried ?? boundText(whole, textBytes / 4);
}
