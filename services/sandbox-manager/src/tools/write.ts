import { errnoText } from "./errno.ts";
import type { Tool } from "./tool.ts";
import { onlyFields, path, text } from "./tool-input.ts";

/** Permission bits of a file that did not exist. */
export const NEW_FILE_MODE = 0o644;

/** A whole file, replacing what was there. */
export const write: Tool = {
  name: "write",
  check(input) {
    onlyFields(input, ["file_path", "content"]);
    const file = path(input, "file_path");
    const content = Buffer.from(text(input, "content"));
    return {
      action: { kind: "write", path: file, content, mode: NEW_FILE_MODE },
      answer: ({ exitCode }) =>
        exitCode === 0
          ? { content: `Wrote ${content.length} bytes to ${file}.`, isError: false }
          : { content: `${file}: ${errnoText(exitCode)}; nothing was written`, isError: true },
    };
  },
};
