/** Rules of a file's name, type, path and time. */

/** Bounds of `expires_in_seconds`. */
export const expirySeconds = { min: 3600, max: 7_776_000 } as const;

const maxNameCharacters = 255;
const defaultType = "application/octet-stream";
const maxPathBytes = 4096;

/** The last part of a name, without what no name should hold. */
export function plainName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  const plain = [...last.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "").trim()]
    .slice(0, maxNameCharacters)
    .join("");
  return plain === "" || plain === "." || plain === ".." ? "unnamed" : plain;
}

/** The type as it was said where that can stand in a header. */
export function plainType(type: string): string {
  return /^[\w!#$&^.+-]{1,127}\/[\w!#$&^.+-]{1,127}(; ?[\w.+-]+=[\w.+-]+)*$/.test(type) ? type : defaultType;
}

/** True for a path below a folder. */
export function isRelativePath(path: string): boolean {
  const parts = path.split("/");
  return (
    Buffer.byteLength(path) <= maxPathBytes &&
    !path.includes("\0") &&
    parts.every((part) => part !== "" && part !== "." && part !== "..")
  );
}
