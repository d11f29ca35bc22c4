import { boundedText } from "./bounded-text.ts";
import type { Tool } from "./tool.ts";
import { InputError, onlyFields, path, text, WORKSPACE } from "./tool-input.ts";

const MAX_PATTERN_CHARS = 4096;
const NO_MATCH = 1;

/** Lines that match an extended regular expression, as `file:line:text`. */
export const grep: Tool = {
  name: "grep",
  check(input) {
    onlyFields(input, ["pattern", "path"]);
    const pattern = text(input, "pattern");
    if (pattern === "" || pattern.length > MAX_PATTERN_CHARS)
      throw new InputError(`pattern: must have 1 to ${MAX_PATTERN_CHARS} characters`);
    if (pattern.includes("\0")) throw new InputError("pattern: must not contain NUL");
    const root = path(input, "path", WORKSPACE);
    return {
      // Only options that GNU, busybox and the virtual grep all have. A second operand: the name also when the path is one file.
      action: { kind: "exec", argv: ["grep", "-rnE", "-e", pattern, "--", root, "/dev/null"], cwd: WORKSPACE },
      answer({ exitCode, output }) {
        if (exitCode === NO_MATCH && output.length === 0) return { content: "No matches found.", isError: false };
        const { text: shown } = boundedText(output);
        // Exit code 2 with matches: some file could not be read; both are shown.
        return { content: shown, isError: exitCode > NO_MATCH && !/^\/.*?:\d+:/m.test(shown) };
      },
    };
  },
};
