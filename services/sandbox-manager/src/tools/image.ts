import type { ToolResult } from "./tool.ts";

/** As base64 in an event it stays below what one frame of the log may hold. */
const MAX_IMAGE_BYTES = 256 * 1024;

const KINDS: readonly { readonly mediaType: string; readonly matches: (bytes: Buffer) => boolean }[] = [
  {
    mediaType: "image/png",
    matches: (bytes) => bytes.subarray(0, 8).equals(Buffer.from("\x89PNG\r\n\x1a\n", "latin1")),
  },
  { mediaType: "image/jpeg", matches: (bytes) => bytes.subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff])) },
  { mediaType: "image/gif", matches: (bytes) => /^GIF8[79]a/.test(bytes.toString("latin1", 0, 6)) },
  { mediaType: "image/webp", matches: (bytes) => /^RIFF.{4}WEBP/s.test(bytes.toString("latin1", 0, 12)) },
];

/** A picture, told by its first bytes, as an answer that shows it; undefined when it is none that a model takes. */
export function imageAnswer(file: string, bytes: Buffer): ToolResult | undefined {
  const kind = KINDS.find(({ matches }) => matches(bytes));
  if (!kind) return undefined;
  if (bytes.length > MAX_IMAGE_BYTES) {
    const content = `${file}: is a picture of ${bytes.length} bytes, and at most ${MAX_IMAGE_BYTES} can be shown; make a smaller one with bash`;
    return { content, isError: true };
  }
  const content = `${file}: ${kind.mediaType}, ${bytes.length} bytes`;
  return { content, isError: false, image: { mediaType: kind.mediaType, data: bytes } };
}
