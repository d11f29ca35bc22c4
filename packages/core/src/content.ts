/** Content blocks, in the public wire shape. */

/** Plain text. */
export interface TextBlock {
  type: "text";
  text: string;
}

/** Where the bytes of a picture or document are. */
export type ContentSource =
  | { type: "base64"; media_type: string; data: string }
  | { type: "url"; url: string }
  | { type: "file"; file_id: string }
  | { type: "text"; media_type: string; data: string };

/** One block of a message or tool result. `redacted` is written by the server only. */
export type ContentBlock =
  | TextBlock
  | { type: "image"; source: ContentSource }
  | { type: "document"; source: ContentSource; title?: string; context?: string }
  | { type: "search_result"; source: string; title: string; content: { text: string }[] }
  | { type: "redacted" };

/** A text block. */
export function text(value: string): TextBlock {
  return { type: "text", text: value };
}

/** The text of all text blocks, joined by newlines; other blocks are passed over. */
export function plainText(content: readonly ContentBlock[]): string {
  return content
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("\n");
}
