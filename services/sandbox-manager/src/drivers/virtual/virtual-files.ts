import { dirname } from "node:path/posix";
import type { Bash } from "just-bash";
import type { ReadAction, TreeAction, WriteAction } from "../driver.ts";
import { formatTreeEntry, type TreeEntry } from "../tree.ts";

/** The same numbers as Linux, so that tools need one table for all drivers. */
const ERRNO = { ENOENT: 2, EIO: 5, ENOTDIR: 20, EISDIR: 21 } as const;
const NS_PER_MS = 1_000_000n;

type FileAnswer = { readonly exitCode: number; readonly output: Uint8Array };
type FileSystem = Bash["fs"];

/** File work in a virtual hand's file system; there is nothing outside of it that a path could reach. */
export async function fileAction(fs: FileSystem, action: ReadAction | WriteAction | TreeAction): Promise<FileAnswer> {
  switch (action.kind) {
    case "read":
      return read(fs, action);
    case "write":
      return write(fs, action);
    case "tree":
      return tree(fs, action);
  }
}

async function read(fs: FileSystem, action: ReadAction): Promise<FileAnswer> {
  if (!(await fs.exists(action.path))) return failed(ERRNO.ENOENT);
  if ((await fs.stat(action.path)).isDirectory) return failed(ERRNO.EISDIR);
  return { exitCode: 0, output: (await fs.readFileBuffer(action.path)).slice(0, action.maxBytes) };
}

async function write(fs: FileSystem, action: WriteAction): Promise<FileAnswer> {
  if ((await fs.exists(action.path)) && (await fs.stat(action.path)).isDirectory) return failed(ERRNO.EISDIR);
  try {
    await fs.mkdir(dirname(action.path), { recursive: true });
    await fs.writeFile(action.path, action.content);
    return { exitCode: 0, output: new Uint8Array() };
  } catch (error) {
    return failed(error instanceof Error && error.message.includes("ENOTDIR") ? ERRNO.ENOTDIR : ERRNO.EIO);
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

async function describe(fs: FileSystem, root: string, path: string): Promise<TreeEntry> {
  const stat = await fs.lstat(`${root}/${path}`);
  const type = stat.isSymbolicLink ? "link" : stat.isDirectory ? "directory" : stat.isFile ? "file" : "other";
  return { type, sizeBytes: stat.size, mtimeNs: BigInt(stat.mtime.getTime()) * NS_PER_MS, path };
}

function failed(exitCode: number): FileAnswer {
  return { exitCode, output: new Uint8Array() };
}
