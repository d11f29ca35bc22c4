/** Files that nothing in a virtual hand can change: its file system refuses whatever would, by the path it really means. */
import { basename, dirname, normalize } from "node:path/posix";
import { MEMORY_FOLDER, UPLOADS_FOLDER } from "@manyhands/core";
import type { Bash } from "just-bash";
import type { PlaceAction } from "../driver.ts";

type FileSystem = Bash["fs"];

/** Puts a piece in its place; answers 0 or an errno. */
export type Placing = (action: PlaceAction) => Promise<number>;

const ERRNO = { EPERM: 1, ENOSPC: 28 } as const;
const FILE_MODE = 0o444;
const PLACES = [UPLOADS_FOLDER, MEMORY_FOLDER];
/** How the refusal begins; a redirection into a placed file ends its whole script with it. */
export const READ_ONLY = "EROFS: read-only file system";

/** Guards the folders in this file system from now on; only what is answered can write there. */
export function guardPlacedFiles(fs: FileSystem): Placing {
  const own = boundTo(fs);
  /** Folders in which tools may do what they like; themselves they stay. */
  const open = new Set<string>();
  const isInside = (path: string) =>
    isPlaced(path) && ![...open].some((folder) => normalize(path).startsWith(`${folder}/`));
  const refuse = (path: string) => {
    throw new Error(`${READ_ONLY}, '${path}'`);
  };
  /** Where a path leads, its last part taken as it is; what does not exist leads nowhere else. */
  const parentOf = async (path: string) => {
    const folder = await fs.realpath(dirname(path)).catch(() => dirname(path));
    return `${folder === "/" ? "" : folder}/${basename(path)}`;
  };
  const check = async (path: string, isFollowed: boolean) => {
    const named = await parentOf(path);
    const meant = isFollowed ? await fs.realpath(path).catch(() => named) : named;
    if (isInside(meant) || isInside(named)) refuse(path);
  };
  const checkWhole = async (path: string) => {
    await check(path, false);
    const named = await parentOf(path);
    const whole = named === "/" ? "/" : `${named}/`;
    if (PLACES.some((place) => `${place}/`.startsWith(whole))) refuse(path);
  };
  Object.assign(fs, {
    async writeFile(...args: Parameters<FileSystem["writeFile"]>) {
      await check(args[0], true);
      return own.writeFile(...args);
    },
    async appendFile(...args: Parameters<FileSystem["appendFile"]>) {
      await check(args[0], true);
      return own.appendFile(...args);
    },
    async chmod(...args: Parameters<FileSystem["chmod"]>) {
      await check(args[0], true);
      return own.chmod(...args);
    },
    async utimes(...args: Parameters<FileSystem["utimes"]>) {
      await check(args[0], true);
      return own.utimes(...args);
    },
    async mkdir(...args: Parameters<FileSystem["mkdir"]>) {
      if (!(await fs.exists(args[0]))) await check(args[0], true);
      return own.mkdir(...args);
    },
    async rm(...args: Parameters<FileSystem["rm"]>) {
      await checkWhole(args[0]);
      return own.rm(...args);
    },
    async mv(...args: Parameters<FileSystem["mv"]>) {
      await checkWhole(args[0]);
      await check(args[1], true);
      return own.mv(...args);
    },
    async cp(...args: Parameters<FileSystem["cp"]>) {
      await check(args[1], true);
      return own.cp(...args);
    },
    async symlink(...args: Parameters<FileSystem["symlink"]>) {
      await check(args[1], false);
      return own.symlink(...args);
    },
    async link(...args: Parameters<FileSystem["link"]>) {
      await check(args[0], true);
      await check(args[1], false);
      return own.link(...args);
    },
  });

  const parts = new Map<string, Uint8Array[]>();
  return async ({ path, offset, content, step }) => {
    if (!isInside(path) || normalize(path) !== path) return ERRNO.EPERM;
    if (step === "folder") {
      await own.mkdir(path, { recursive: true });
      open.add(normalize(path));
      return 0;
    }
    if (step === "remove") {
      parts.delete(path);
      await own.rm(path, { force: true });
      return 0;
    }
    const before = offset === 0 ? [] : (parts.get(path) ?? []);
    const all = [...before, content];
    parts.set(path, all);
    if (step === "more") return 0;
    parts.delete(path);
    try {
      await own.mkdir(dirname(path), { recursive: true });
      await own.writeFile(path, Buffer.concat(all));
      await own.chmod(path, FILE_MODE);
      return 0;
    } catch {
      return ERRNO.ENOSPC;
    }
  };
}

function isPlaced(path: string): boolean {
  return PLACES.some((place) => normalize(path).startsWith(`${place}/`));
}

/** The file system's own methods, as they were. */
function boundTo(fs: FileSystem) {
  return {
    writeFile: fs.writeFile.bind(fs),
    appendFile: fs.appendFile.bind(fs),
    chmod: fs.chmod.bind(fs),
    utimes: fs.utimes.bind(fs),
    mkdir: fs.mkdir.bind(fs),
    rm: fs.rm.bind(fs),
    mv: fs.mv.bind(fs),
    cp: fs.cp.bind(fs),
    symlink: fs.symlink.bind(fs),
    link: fs.link.bind(fs),
  };
}
