/** What a hand's files are and what changed in them: pure. */
import type { ManifestEntry } from "../drivers/manifest.ts";

/** Where a file's bytes are: a range of a stored content, which has `wholeBytes`. */
export type Stored = { readonly sha256: string; readonly offset: number; readonly wholeBytes: number };

/** One file, folder or link. Without `data` a file is as the recipe made it. */
export type FileEntry = {
  readonly type: "file" | "directory" | "link";
  readonly mode: number;
  readonly sizeBytes: number;
  /** Modification and change time as the hand told them; decimal nanoseconds. */
  readonly mtimeNs: string;
  readonly ctimeNs: string;
  /** Where a link leads. */
  readonly target?: string;
  /** SHA-256 of a file's bytes, where they were read. */
  readonly sha256?: string;
  readonly data?: Stored;
};

/** Files by absolute path. */
export type FileMap = ReadonlyMap<string, FileEntry>;

/** What one snapshot changes in the one before it. */
export type FileChange = {
  readonly set: Readonly<Record<string, FileEntry>>;
  readonly gone: readonly string[];
};

/** What is looked at: the workspace, the home without its caches, and what is put out for the user. */
export const SNAPSHOT_ROOTS = ["/workspace", "/home/hand", "/mnt/session/outputs"] as const;
const LEFT_OUT = /^\/home\/hand\/(\.cache|\.npm\/_cacache)(\/|$)/;
const NS_PER_MS = 1_000_000n;
/** A kernel's clock for files may stand still for so long: what changed as lately as this may change again unseen. */
const RACY_MS = 50n;

/** The entries that snapshots keep; sockets, devices and pipes are none. */
export function fileMap(manifest: readonly ManifestEntry[]): Map<string, FileEntry> {
  const files = new Map<string, FileEntry>();
  for (const { type, mode, sizeBytes, mtimeNs, ctimeNs, path, target } of manifest) {
    if (type === "other" || LEFT_OUT.test(path)) continue;
    const times = { mtimeNs: String(mtimeNs), ctimeNs: String(ctimeNs) };
    const size = type === "file" ? sizeBytes : 0;
    files.set(path, { type, mode, sizeBytes: size, ...times, ...(type === "link" ? { target } : {}) });
  }
  return files;
}

/** What has to be looked at again: paths that are new or differ, and paths that are gone. */
export type Difference = { readonly changed: readonly string[]; readonly gone: readonly string[] };

/** `seenAtMs` is when `before` was looked at: younger changes than that clock can tell are suspects again. */
export function difference(before: FileMap, now: FileMap, seenAtMs: number): Difference {
  const changed: string[] = [];
  for (const [path, entry] of now) {
    const old = before.get(path);
    if (!old || !isSame(old, entry) || isRacy(old, seenAtMs)) changed.push(path);
  }
  return { changed, gone: [...before.keys()].filter((path) => !now.has(path)) };
}

function isSame(a: FileEntry, b: FileEntry): boolean {
  if (a.type !== b.type || a.mode !== b.mode || a.target !== b.target) return false;
  return a.type !== "file" || (a.sizeBytes === b.sizeBytes && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs);
}

function isRacy({ type, ctimeNs }: FileEntry, seenAtMs: number): boolean {
  return type === "file" && BigInt(ctimeNs) / NS_PER_MS + RACY_MS >= BigInt(seenAtMs);
}

/** The files after a change. */
export function changed(files: FileMap, { set, gone }: FileChange): Map<string, FileEntry> {
  const after = new Map(files);
  for (const path of gone) after.delete(path);
  for (const [path, entry] of Object.entries(set)) after.set(path, entry);
  return after;
}

/** Everything in which files differ from those of the recipe, as one change. */
export function sinceBase(base: FileMap, files: FileMap): FileChange {
  const set: Record<string, FileEntry> = {};
  for (const [path, entry] of files) if (base.get(path) !== entry) set[path] = entry;
  return { set, gone: [...base.keys()].filter((path) => !files.has(path)) };
}
