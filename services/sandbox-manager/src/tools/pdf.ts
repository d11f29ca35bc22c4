import { boundedText } from "./bounded-text.ts";
import { errnoText } from "./errno.ts";
import type { OperationEnd, ToolCall, ToolResult } from "./tool.ts";

/** Exit codes of no reader of PDFs. */
const NO_READER = 90;
const NO_FILE = 91;
const ENOENT = 2;
const PAGE = "\f";
const TIMEOUT_MS = 60_000;

/**
 * Text of the simplest kind of file, for images without pdftotext: the strings that each content stream shows, a page
 * for each. What is drawn, encoded by font or encrypted is not text to it.
 */
const EXTRACTOR = `
import re, sys, zlib
data = open(sys.argv[1], "rb").read(64 << 20)
pages = []
for match in re.finditer(rb"<<(.{0,2000}?)>>\\s*stream\\r?\\n", data, re.S):
    body = data[match.end():data.find(b"endstream", match.end())]
    try:
        if b"FlateDecode" in match.group(1): body = zlib.decompressobj().decompress(body, 16 << 20)
    except zlib.error: continue
    if b"BT" not in body or not re.search(rb"T[jJ*]", body): continue
    lines, line = [], ""
    for token in re.finditer(rb"\\(((?:\\\\.|[^()\\\\])*)\\)|\\b(T[dDm*]|ET)\\b|(?<=\\s)(T\\*)", body, re.S):
        if token.group(1) is not None: line += re.sub(rb"\\\\(.)", rb"\\1", token.group(1)).decode("latin-1")
        elif line: lines, line = lines + [line], ""
    if line: lines.append(line)
    if lines: pages.append("\\n".join(lines))
if not pages: sys.exit(4)
sys.stdout.write("\\f".join(pages))
`;

/** Read inside the hand: its files are never taken apart outside. */
const SCRIPT = `if [ ! -f "$1" ]; then exit ${NO_FILE}; fi
if command -v pdftotext > /dev/null 2>&1; then exec pdftotext -layout -enc UTF-8 "$1" -; fi
if command -v python3 > /dev/null 2>&1; then exec python3 -c "$2" "$1"; fi
exit ${NO_READER}`;

/** Pages of a PDF as text; `range` counts pages. */
export function readPdf(file: string, range: readonly [number, number] | undefined): ToolCall {
  return {
    action: { kind: "exec", argv: ["sh", "-c", SCRIPT, "sh", file, EXTRACTOR] },
    timeoutMs: TIMEOUT_MS,
    answer: (end) => pages(file, range, end),
  };
}

function pages(
  file: string,
  range: readonly [number, number] | undefined,
  { exitCode, output }: OperationEnd,
): ToolResult {
  if (exitCode !== 0) return { content: `${file}: ${reason(exitCode, output)}`, isError: true };
  const all = output.toString("utf8").split(PAGE);
  if (all.at(-1)?.trim() === "") all.pop();
  const [first, last] = range ?? [1, all.length];
  if (first > Math.max(1, all.length)) {
    return { content: `view_range: starts at page ${first}, but ${file} has ${all.length} pages`, isError: true };
  }
  const shown = all.slice(first - 1, last <= 0 ? undefined : last);
  const text = shown.map((page, at) => `[page ${first + at} of ${all.length}]\n${page.trimEnd()}\n`).join("\n");
  return { content: boundedText(Buffer.from(text)).text, isError: false };
}

function reason(exitCode: number, output: Buffer): string {
  if (exitCode === NO_FILE) return errnoText(ENOENT);
  if (exitCode === NO_READER) return "is a PDF, and this sandbox has neither pdftotext nor python3 to read it with";
  const said = output.toString("utf8").trim().split("\n").at(-1)?.slice(0, 200) ?? "";
  return `its text could not be read${said === "" ? " (perhaps it is scanned)" : `: ${said}`}`;
}
