import { posix } from "node:path";
import picomatch from "picomatch";
import { parseTree } from "../drivers/tree.ts";
import { errnoText } from "./errno.ts";
import type { Tool } from "./tool.ts";
import { InputError, onlyFields, path, text, WORKSPACE } from "./tool-input.ts";

const MAX_ENTRIES = 100_000;
const MAX_RESULTS = 200;
const MAX_PATTERN_CHARS = 4096;

/** Files whose path matches, newest first. */
export const glob: Tool = {
  name: "glob",
  check(input) {
    onlyFields(input, ["pattern", "path"]);
    const pattern = text(input, "pattern");
    if (pattern === "" || pattern.length > MAX_PATTERN_CHARS)
      throw new InputError(`pattern: must have 1 to ${MAX_PATTERN_CHARS} characters`);
    const given = path(input, "path", WORKSPACE);
    // An absolute pattern names its own root: the part before its first wildcard.
    const absolute = pattern.startsWith("/") ? picomatch.scan(pattern) : undefined;
    const root = absolute ? posix.resolve("/", absolute.base) : given;
    const matches = picomatch(absolute ? absolute.glob : pattern, { dot: true });
    return {
      action: { kind: "tree", path: root, maxEntries: MAX_ENTRIES },
      answer({ exitCode, output }) {
        if (exitCode !== 0) return { content: `${root}: ${errnoText(exitCode)}`, isError: true };
        const entries = parseTree(output);
        const found = entries
          .filter((entry) => entry.type !== "directory" && matches(entry.path))
          .sort((a, b) => Number(b.mtimeNs - a.mtimeNs) || (a.path < b.path ? -1 : 1));
        if (found.length === 0) return { content: "No files found.", isError: false };
        const lines = found.slice(0, MAX_RESULTS).map((entry) => posix.join(root, entry.path));
        if (found.length > MAX_RESULTS) lines.push(`[… ${found.length - MAX_RESULTS} more files …]`);
        if (entries.length === MAX_ENTRIES)
          lines.push(`[only the first ${MAX_ENTRIES} entries below ${root} were looked at]`);
        return { content: lines.join("\n"), isError: false };
      },
    };
  },
};
