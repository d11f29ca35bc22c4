import { dirname } from "node:path/posix";
import type { Bash } from "just-bash";
import type { LookAction, PlaceAction, ReadAction, TreeAction, WriteAction } from "../driver.ts";
import { formatBundled, formatManifestEntry, type ManifestEntry } from "../manifest.ts";
import { formatTreeEntry, type TreeEntry } from "../tree.ts";
import type { Placing } from "./placed-files.ts";

/** The same numbers as Linux, so that tools need one table for all drivers. */
const ERRNO = { ENOENT: 2, EIO: 5, ENOTDIR: 20, EISDIR: 21, EROFS: 30 } as const;
const NS_PER_MS = 1_000_000n;

type FileAnswer = { readonly exitCode: number; readonly output: Uint8Array };
type FileSystem = Bash["fs"];

/** File work in a virtual hand's file system; there is nothing outside of it that a path could reach. */
export async function fileAction(
  fs: FileSystem,
  action: LookAction | WriteAction | PlaceAction,
  place: Placing,
): Promise<FileAnswer> {
  switch (action.kind) {
    case "place":
      return { exitCode: await place(action), output: new Uint8Array() };
    case "read":
      return read(fs, action);
    case "write":
      return write(fs, action);
    case "tree":
      return tree(fs, action);
    case "manifest":
      return manifest(fs, action.roots, action.maxEntries);
    case "bundle":
      return { exitCode: 0, output: Buffer.concat(await Promise.all(action.paths.map((path) => bundled(fs, path)))) };
  }
}

async function read(fs: FileSystem, action: ReadAction): Promise<FileAnswer> {
  if (!(await fs.exists(action.path))) return failed(ERRNO.ENOENT);
  if ((await fs.stat(action.path)).isDirectory) return failed(ERRNO.EISDIR);
  const { offset = 0, maxBytes } = action;
  return { exitCode: 0, output: (await fs.readFileBuffer(action.path)).slice(offset, offset + maxBytes) };
}

async function write(fs: FileSystem, action: WriteAction): Promise<FileAnswer> {
  if ((await fs.exists(action.path)) && (await fs.stat(action.path)).isDirectory) return failed(ERRNO.EISDIR);
  try {
    await fs.mkdir(dirname(action.path), { recursive: true });
    await fs.writeFile(action.path, action.content);
    return { exitCode: 0, output: new Uint8Array() };
  } catch (error) {
    const { message } = error instanceof Error ? error : { message: "" };
    const known = (["EROFS", "ENOTDIR"] as const).find((name) => message.includes(name));
    return failed(known ? ERRNO[known] : ERRNO.EIO);
  }
}

async function tree(fs: FileSystem, action: TreeAction): Promise<FileAnswer> {
  if (!(await fs.exists(action.path))) return failed(ERRNO.ENOENT);
  if (!(await fs.stat(action.path)).isDirectory) return failed(ERRNO.ENOTDIR);
  const records: Uint8Array[] = [];
  const folders = [""];
  for (let folder = folders.shift(); folder !== undefined; folder = folders.shift()) {
    for (const name of await fs.readdir(`${action.path}/${folder}`)) {
      if (records.length >= action.maxEntries) return { exitCode: 0, output: Buffer.concat(records) };
      const entry = await describe(fs, action.path, `${folder}${name}`);
      records.push(formatTreeEntry(entry));
      if (entry.type === "directory") folders.push(`${entry.path}/`);
    }
  }
  return { exitCode: 0, output: Buffer.concat(records) };
}

async function manifest(fs: FileSystem, roots: readonly string[], maxEntries: number): Promise<FileAnswer> {
  const records: Uint8Array[] = [];
  for (const root of roots) {
    if (!(await fs.exists(root))) continue;
    const folders = [root];
    for (let folder = folders.shift(); folder !== undefined; folder = folders.shift()) {
      for (const name of await fs.readdir(folder)) {
        if (records.length >= maxEntries) return { exitCode: 0, output: Buffer.concat(records) };
        const entry = await known(fs, `${folder}/${name}`);
        records.push(formatManifestEntry(entry));
        if (entry.type === "directory") folders.push(entry.path);
      }
    }
  }
  return { exitCode: 0, output: Buffer.concat(records) };
}

/** There is no change time in memory; the time of the last write stands for it. */
async function known(fs: FileSystem, path: string): Promise<ManifestEntry> {
  const { mode } = await fs.lstat(path);
  const { type, sizeBytes, mtimeNs } = await describe(fs, "", path.slice(1));
  const target = type === "link" ? await fs.readlink(path) : "";
  return { type, mode: mode & 0o7777, sizeBytes, mtimeNs, ctimeNs: mtimeNs, path, target };
}

async function bundled(fs: FileSystem, path: string): Promise<Uint8Array> {
  if (!(await fs.exists(path))) return formatBundled(ERRNO.ENOENT, new Uint8Array());
  return formatBundled(0, await fs.readFileBuffer(path));
}

async function describe(fs: FileSystem, root: string, path: string): Promise<TreeEntry> {
  const stat = await fs.lstat(`${root}/${path}`);
  const type = stat.isSymbolicLink ? "link" : stat.isDirectory ? "directory" : stat.isFile ? "file" : "other";
  return { type, sizeBytes: stat.size, mtimeNs: BigInt(stat.mtime.getTime()) * NS_PER_MS, path };
}

function failed(exitCode: number): FileAnswer {
  return { exitCode, output: new Uint8Array() };
}
