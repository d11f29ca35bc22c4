/** Paths of memories: what may be one, and which cannot be there at the same time. */

const maxSegments = 20;
const maxPathBytes = 1024;

/** What is wrong with a path; undefined when nothing is. */
export function memoryPathProblem(path: string): string | undefined {
  const segments = path.split("/").slice(1);
  if (!path.startsWith("/") || segments.some((segment) => segment === "" || segment === "." || segment === ".."))
    return "must begin with / and have no empty parts, . or ..";
  if (segments.length > maxSegments) return `must have at most ${maxSegments} parts`;
  if (Buffer.byteLength(path) > maxPathBytes) return `must have at most ${maxPathBytes} bytes`;
  if (/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u.test(path)) return "must have no control or format characters";
  if (path.normalize("NFC") !== path) return "must be in Unicode normalization form C";
  return undefined;
}

/** True when only one of the two can be a memory: they are the same, or one is a folder of the other. */
export function pathsConflict(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}
