import type { Hand, OperationAction } from "../drivers/driver.ts";
import { errnoText } from "./errno.ts";
import { errorResult, type Tool, type ToolResult } from "./tool.ts";
import { flag, InputError, onlyFields, path, text } from "./tool-input.ts";
import { NEW_FILE_MODE } from "./write.ts";

const MAX_FILE_BYTES = 8 * 1024 * 1024;

type Edit = { readonly file: string; readonly before: Buffer; readonly after: Buffer; readonly all: boolean };

/** Replaces a text that occurs exactly once, or every occurrence. Bytes around it stay as they are, whatever they encode. */
export const edit: Tool = {
  name: "edit",
  check(input) {
    onlyFields(input, ["file_path", "old_string", "new_string", "replace_all"]);
    const file = path(input, "file_path");
    const before = Buffer.from(text(input, "old_string"));
    const after = Buffer.from(text(input, "new_string"));
    const all = flag(input, "replace_all");
    if (before.length === 0) throw new InputError("old_string: must not be empty; use write to make a file");
    if (before.equals(after)) throw new InputError("new_string: is the same as old_string");
    return {
      prepare: (hand) => prepare({ file, before, after, all }, hand),
      answer: ({ exitCode }) =>
        exitCode === 0
          ? {
              content: all ? `Replaced every occurrence in ${file}.` : `Replaced one occurrence in ${file}.`,
              isError: false,
            }
          : errorResult(`${file}: ${errnoText(exitCode)}; nothing was changed`),
    };
  },
};

async function prepare(
  { file, before, after, all }: Edit,
  hand: Pick<Hand, "look">,
): Promise<OperationAction | ToolResult> {
  const found = await hand.look({ kind: "read", path: file, maxBytes: MAX_FILE_BYTES + 1 });
  if (found.exitCode !== 0) return errorResult(`${file}: ${errnoText(found.exitCode)}`);
  if (found.bytes.length > MAX_FILE_BYTES)
    return errorResult(`${file}: is larger than ${MAX_FILE_BYTES} bytes; edit it with bash`);
  const content = Buffer.from(found.bytes);
  const places = occurrences(content, before);
  if (places.length === 0) return errorResult(`old_string: does not occur in ${file}`);
  if (places.length > 1 && !all) {
    return errorResult(`old_string: occurs ${places.length} times in ${file}; make it unique or set replace_all`);
  }
  return { kind: "write", path: file, content: replaced(content, places, before.length, after), mode: NEW_FILE_MODE };
}

function occurrences(content: Buffer, wanted: Buffer): number[] {
  const places: number[] = [];
  for (let at = content.indexOf(wanted); at >= 0; at = content.indexOf(wanted, at + wanted.length)) places.push(at);
  return places;
}

function replaced(content: Buffer, places: readonly number[], length: number, after: Buffer): Buffer {
  const parts: Buffer[] = [];
  let from = 0;
  for (const at of places) {
    parts.push(content.subarray(from, at), after);
    from = at + length;
  }
  return Buffer.concat([...parts, content.subarray(from)]);
}
