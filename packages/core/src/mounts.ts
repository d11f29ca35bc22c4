/** Where files of a session may appear in its hands, and how much of them: one set of rules for the door and the hands. */

/** Files that users give to a session stand here; nothing that runs in the hand can change what is in it. */
export const UPLOADS_FOLDER = "/mnt/session/uploads";
/** What a hand puts here is the user's. */
export const OUTPUTS_FOLDER = "/mnt/session/outputs";
/** Memory stores that a session was given stand here, each in a folder named after it. */
export const MEMORY_FOLDER = "/mnt/memory";
/** Memory stores of one session. */
export const MAX_MEMORY_STORES = 8;
/** Bytes of all files of one session that are mounted at once. */
export const MAX_MOUNTED_BYTES = 120 * 1024 * 1024;
/** Files of one session that are mounted at once. */
export const MAX_MOUNTED_FILES = 100;

const roots = [UPLOADS_FOLDER, "/workspace", "/home/hand"];
const maxPathCharacters = 1024;
const maxSegments = 32;
const maxSegmentBytes = 200;

/** What is wrong with a path at which a file is to appear; undefined when nothing is. */
export function mountPathProblem(path: string): string | undefined {
  const segments = path.split("/").slice(1);
  const isPlain = path.startsWith("/") && segments.every((segment) => isPlainSegment(segment));
  if (!isPlain) return "must be an absolute path without empty parts, . or .. and without control characters";
  if (path.length > maxPathCharacters || segments.length > maxSegments)
    return `must have at most ${maxPathCharacters} characters and ${maxSegments} parts`;
  if (!roots.some((root) => path.startsWith(`${root}/`))) return `must be below ${roots.join(" or ")}`;
  return undefined;
}

/** Paths of which one is the other or a folder of the other, as a pair; undefined when all can be there at once. */
export function mountPathClash(paths: readonly string[]): readonly [string, string] | undefined {
  // With the separator as the lowest character, a folder is directly followed by what lies in it.
  const sorted = paths.map((path) => path.split("/").join("\u0000")).sort();
  for (const [index, path] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next !== undefined && (next === path || next.startsWith(`${path}\u0000`))) {
      return [path.split("\u0000").join("/"), next.split("\u0000").join("/")];
    }
  }
  return undefined;
}

function isPlainSegment(segment: string): boolean {
  if (segment === "" || segment === "." || segment === "..") return false;
  return utf8Bytes(segment) <= maxSegmentBytes && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(segment);
}

function utf8Bytes(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return bytes;
}

/** The folder of a memory store: its name in small letters, everything else as single dashes. */
export function memoryMountPath(name: string): string {
  const slug = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return `${MEMORY_FOLDER}/${slug === "" ? "store" : slug}`;
}
