/** One entry of a listed folder; `path` is relative to it. */
export type TreeEntry = {
  readonly type: "file" | "directory" | "link" | "other";
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  readonly path: string;
};

const TYPES = { f: "file", d: "directory", l: "link", o: "other" } as const;
const HEADER_BYTES = 17;

/** Reads the records a `tree` action writes: type letter, size u64, mtime in ns u64 (little endian), path, NUL. */
export function parseTree(bytes: Uint8Array): TreeEntry[] {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: TreeEntry[] = [];
  let at = 0;
  while (at + HEADER_BYTES < data.length) {
    const end = data.indexOf(0, at + HEADER_BYTES);
    if (end < 0) break;
    const letter = String.fromCharCode(data[at] ?? 0);
    entries.push({
      type: letter === "f" || letter === "d" || letter === "l" ? TYPES[letter] : "other",
      sizeBytes: Number(data.readBigUInt64LE(at + 1)),
      mtimeNs: data.readBigUInt64LE(at + 9),
      path: data.toString("utf8", at + HEADER_BYTES, end),
    });
    at = end + 1;
  }
  return entries;
}

/** One record as `parseTree` reads it. */
export function formatTreeEntry(entry: TreeEntry): Uint8Array {
  const path = Buffer.from(entry.path);
  const record = Buffer.alloc(HEADER_BYTES + path.length + 1);
  record.write({ file: "f", directory: "d", link: "l", other: "o" }[entry.type], 0);
  record.writeBigUInt64LE(BigInt(entry.sizeBytes), 1);
  record.writeBigUInt64LE(entry.mtimeNs, 9);
  path.copy(record, HEADER_BYTES);
  return record;
}
