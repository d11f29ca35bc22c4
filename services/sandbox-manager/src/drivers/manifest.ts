/** One entry as a snapshot sees it; `path` is absolute. */
export type ManifestEntry = {
  readonly type: "file" | "directory" | "link" | "other";
  /** Permission bits, with set-id and sticky. */
  readonly mode: number;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly path: string;
  /** Where a link leads; empty otherwise. */
  readonly target: string;
};

/** A file's bytes, or why not (an errno). */
export type Bundled = { readonly errno: number; readonly bytes: Uint8Array };

const TYPES = { f: "file", d: "directory", l: "link", o: "other" } as const;
const LETTERS = { file: "f", directory: "d", link: "l", other: "o" } as const;
const HEAD_BYTES = 29;
const BUNDLE_HEAD_BYTES = 12;

/**
 * Reads the records a `manifest` action writes: type letter, mode u32, size u64, mtime u64, ctime u64 (little endian),
 * path, NUL, target, NUL. A name that is no UTF-8 cannot be told back to the hand and is left out.
 */
export function parseManifest(bytes: Uint8Array): ManifestEntry[] {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: ManifestEntry[] = [];
  for (let at = 0; at + HEAD_BYTES < data.length; ) {
    const pathEnd = data.indexOf(0, at + HEAD_BYTES);
    const targetEnd = pathEnd < 0 ? -1 : data.indexOf(0, pathEnd + 1);
    if (targetEnd < 0) break;
    const letter = String.fromCharCode(data[at] ?? 0);
    const path = data.toString("utf8", at + HEAD_BYTES, pathEnd);
    if (!path.includes("\ufffd")) {
      entries.push({
        type: letter === "f" || letter === "d" || letter === "l" ? TYPES[letter] : "other",
        mode: data.readUInt32LE(at + 1),
        sizeBytes: Number(data.readBigUInt64LE(at + 5)),
        mtimeNs: data.readBigUInt64LE(at + 13),
        ctimeNs: data.readBigUInt64LE(at + 21),
        path,
        target: data.toString("utf8", pathEnd + 1, targetEnd),
      });
    }
    at = targetEnd + 1;
  }
  return entries;
}

/** One record as `parseManifest` reads it. */
export function formatManifestEntry(entry: ManifestEntry): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(LETTERS[entry.type], 0);
  head.writeUInt32LE(entry.mode, 1);
  head.writeBigUInt64LE(BigInt(entry.sizeBytes), 5);
  head.writeBigUInt64LE(entry.mtimeNs, 13);
  head.writeBigUInt64LE(entry.ctimeNs, 21);
  return Buffer.concat([head, Buffer.from(`${entry.path}\0${entry.target}\0`)]);
}

/** Reads what a `bundle` action writes, one for each path: errno u32, size u64, bytes. Throws RangeError when cut. */
export function parseBundle(bytes: Uint8Array, count: number): Bundled[] {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const files: Bundled[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    const errno = data.readUInt32LE(at);
    const size = Number(data.readBigUInt64LE(at + 4));
    at += BUNDLE_HEAD_BYTES;
    if (at + size > data.length) throw new RangeError("a bundle ends within a file");
    files.push({ errno, bytes: data.subarray(at, at + size) });
    at += size;
  }
  return files;
}

/** One file as `parseBundle` reads it. */
export function formatBundled(errno: number, bytes: Uint8Array): Uint8Array {
  const head = Buffer.alloc(BUNDLE_HEAD_BYTES);
  head.writeUInt32LE(errno, 0);
  head.writeBigUInt64LE(BigInt(bytes.length), 4);
  return Buffer.concat([head, bytes]);
}
