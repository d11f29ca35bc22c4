import { boundedText, MODEL_BYTES } from "./bounded-text.ts";
import { errnoText } from "./errno.ts";
import { imageAnswer } from "./image.ts";
import { readPdf } from "./pdf.ts";
import type { Tool, ToolResult } from "./tool.ts";
import { onlyFields, optionalRange, path } from "./tool-input.ts";

/** Larger files are read by range with the shell. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
const SNIFF_BYTES = 8192;

/** A file as text, whole or some of its lines; a picture as a picture; a PDF's pages as text. */
export const read: Tool = {
  name: "read",
  check(input) {
    onlyFields(input, ["file_path", "view_range"]);
    const file = path(input, "file_path");
    const range = optionalRange(input, "view_range");
    if (/\.pdf$/i.test(file)) return readPdf(file, range);
    return {
      action: { kind: "read", path: file, maxBytes: MAX_FILE_BYTES },
      answer({ exitCode, output }) {
        if (exitCode !== 0) return { content: `${file}: ${errnoText(exitCode)}`, isError: true };
        const image = imageAnswer(file, output);
        if (image) return image;
        if (output.subarray(0, SNIFF_BYTES).includes(0)) {
          return {
            content: `${file}: is a binary file of ${output.length} bytes; use bash to inspect it`,
            isError: true,
          };
        }
        return range ? someLines(file, output, range) : whole(output);
      },
    };
  },
};

function whole(output: Buffer): ToolResult {
  const { text, truncated } = boundedText(output);
  const hint = truncated ? `\n[the file is larger than ${MODEL_BYTES} bytes; use view_range for the rest]` : "";
  return { content: text + hint, isError: false };
}

function someLines(file: string, output: Buffer, [start, end]: readonly [number, number]): ToolResult {
  const lines = output.toString("utf8").split("\n");
  if (lines.at(-1) === "") lines.pop();
  if (start > Math.max(1, lines.length)) {
    return { content: `view_range: starts at line ${start}, but ${file} has ${lines.length} lines`, isError: true };
  }
  const shown = lines.slice(start - 1, end <= 0 ? undefined : end).join("\n");
  return { content: boundedText(Buffer.from(shown)).text, isError: false };
}
