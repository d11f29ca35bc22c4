/** The folder of a memory store in a hand: what is in it, and changing it, as its tools could. */
import { createHash } from "node:crypto";
import { MEMORY_FOLDER } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import type { Hand } from "../drivers/driver.ts";
import { parseManifest } from "../drivers/manifest.ts";
import { readFiles } from "../snapshots/read-files.ts";
import { errnoText } from "../tools/errno.ts";
import { MAX_MEMORIES } from "./memories.ts";
import type { Agreed, FolderFile } from "./merge-memories.ts";
import { perform, placeFile } from "./place-file.ts";

/** Bytes of one memory. */
const MAX_MEMORY_BYTES = 102_400;
const MAX_ENTRIES = 3 * MAX_MEMORIES;
const FILE_MODE = 0o644;
const MAX_AGREED_BYTES = 3 * 1024 * 1024;
const NS_PER_MS = 1_000_000n;
/** A kernel's clock for files may stand still for so long. */
const RACY_MS = 50n;

/** A file as it was last looked at; `content` only of one that could be a memory and was just read. */
export type SeenFile = FolderFile & { readonly mark: string; readonly content?: string };

/**
 * Files by path below the folder, what is as it was `before` not read again. Throws `conflict`/MEMORY_FOLDER_UNUSABLE when
 * the folder is gone or holds more than any store.
 */
export async function lookAtFolder(
  hand: Hand,
  root: string,
  before: ReadonlyMap<string, SeenFile>,
  nowMs: number,
): Promise<Map<string, SeenFile>> {
  const { bytes } = await hand.look({ kind: "manifest", roots: [root], maxEntries: MAX_ENTRIES });
  const entries = parseManifest(bytes);
  if (entries.length >= MAX_ENTRIES) throw unusable(root, `holds more than ${MAX_ENTRIES} files and folders`);
  if (entries.length === 0) {
    const { exitCode } = await hand.look({ kind: "tree", path: root, maxEntries: 1 });
    if (exitCode !== 0) throw unusable(root, errnoText(exitCode));
  }
  const seen = new Map<string, SeenFile>();
  const unread = new Map<string, { readonly mark: string; readonly sizeBytes: number }>();
  for (const { type, path, sizeBytes, mode, mtimeNs, ctimeNs } of entries) {
    if (type === "directory") continue;
    const at = path.slice(root.length);
    const isRacy = ctimeNs / NS_PER_MS + RACY_MS >= BigInt(nowMs);
    const mark = isRacy ? "" : `${type} ${sizeBytes} ${mode} ${mtimeNs} ${ctimeNs}`;
    const known = before.get(at);
    if (known && mark !== "" && known.mark === mark) seen.set(at, known);
    else if (type !== "file") seen.set(at, { mark, sha256: type, unfit: "it is a link or a special file" });
    else if (sizeBytes > MAX_MEMORY_BYTES) seen.set(at, tooLarge(mark, sizeBytes));
    else unread.set(at, { mark, sizeBytes });
  }
  const wanted = [...unread].map(([at, { sizeBytes }]) => ({ path: root + at, sizeBytes }));
  for await (const [{ path }, read] of readFiles(hand, wanted)) {
    const at = path.slice(root.length);
    if (read) seen.set(at, asMemory(read, unread.get(at)?.mark ?? ""));
    else seen.set(at, { mark: "", sha256: "", unfit: "it cannot be read" });
  }
  return seen;
}

/** True for a path with parts that lead anywhere else: session-store has none, and a hand is given none. */
export function climbs(path: string): boolean {
  return /\/\.{0,2}(\/|$)/.test(path);
}

/** Writes or removes a file as a tool would; answers why it could not, in words. */
export async function changeFile(hand: Hand, path: string, content: string | undefined): Promise<string | undefined> {
  if (climbs(path)) return "its path leads elsewhere";
  const action =
    content === undefined
      ? ({ kind: "exec", argv: ["rm", "-f", "--", path] } as const)
      : ({ kind: "write", path, content: Buffer.from(content), mode: FILE_MODE } as const);
  const code = await perform(hand, action);
  return code === 0 ? undefined : errnoText(code);
}

/** What was agreed on lies in the hand, where its tools cannot change it: whatever manager comes next, finds it. */
export async function writeAgreed(hand: Hand, root: string, agreed: Agreed): Promise<void> {
  const content = Buffer.from(JSON.stringify(Object.fromEntries(agreed)));
  const errno = await placeFile(hand, { path: agreedPath(root), content, step: "last" });
  if (errno !== 0) throw AppError.unavailable("HAND_FULL", `${agreedPath(root)}: ${errnoText(errno)}`);
}

/** None where it cannot be read: then what differs counts as changed on both sides, and nothing is lost. */
export async function readAgreed(hand: Hand, root: string): Promise<Map<string, string>> {
  const { exitCode, bytes } = await hand.look({ kind: "read", path: agreedPath(root), maxBytes: MAX_AGREED_BYTES });
  if (exitCode !== 0) return new Map();
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    if (typeof value !== "object" || value === null) return new Map();
    return new Map(
      Object.entries(value).flatMap(([path, sha256]) => (typeof sha256 === "string" ? [[path, sha256]] : [])),
    );
  } catch {
    return new Map();
  }
}

/** Hidden, beside the folders: no store's folder begins with a dot. */
function agreedPath(root: string): string {
  return `${MEMORY_FOLDER}/.agreed/${root.slice(MEMORY_FOLDER.length + 1)}`;
}

function asMemory(read: Uint8Array, mark: string): SeenFile {
  const sha256 = createHash("sha256").update(read).digest("hex");
  if (read.length > MAX_MEMORY_BYTES) return tooLarge(mark, read.length);
  try {
    const content = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(read);
    return { mark, sha256, content };
  } catch {
    return { mark, sha256, unfit: "it is no text in UTF-8" };
  }
}

function tooLarge(mark: string, sizeBytes: number): SeenFile {
  return { mark, sha256: String(sizeBytes), unfit: `it has more than ${MAX_MEMORY_BYTES} bytes` };
}

function unusable(root: string, why: string): AppError {
  return AppError.conflict("MEMORY_FOLDER_UNUSABLE", `${root}: ${why}`);
}
