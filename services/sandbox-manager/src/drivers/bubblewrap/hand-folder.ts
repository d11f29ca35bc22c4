/**
 * What a bubblewrap hand is on the machine: one folder, named after the hand, that outlives its manager.
 *
 *   <root>/bin/       the agent, readable by all: hands run under numbers of their own
 *   <root>/etc/       the few files of /etc that are the same in every hand
 *   <root>/checkouts/<secret of the platform>/<key>/{tree, objects}; the secret stands in <root>/hands/<platform>.checkouts
 *   <root>/hands/<platform>/<hand>/{hand.json, keeper, socket, journal/, log}
 */
import { createHash, randomBytes } from "node:crypto";
import { chmod, chown, copyFile, lstat, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

/** A unix socket's path must fit in `sun_path`. */
const MAX_SOCKET_PATH = 107;
const PLATFORM_DIGITS = 16;
const SECRET_BYTES = 16;
const PASSWD = "root:x:0:0:root:/:/usr/sbin/nologin\nhand:x:65532:65532:hand:/home/hand:/bin/sh\n";
const ETC = {
  passwd: PASSWD,
  group: "root:x:0:\nhand:x:65532:\n",
  hosts: "127.0.0.1 localhost\n::1 localhost\n",
  "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
};

/** What is remembered of a hand beside its processes. */
export type HandNote = {
  readonly handId: string;
  readonly sessionId: string;
  readonly createdAtMs: number;
  /** First of the two user numbers it has on the machine; 0: it runs under the manager's own. */
  readonly base: number;
  readonly cgroups: readonly string[];
  /** Prepared checkouts that it stands on. Absent in notes of earlier versions. */
  readonly checkouts?: readonly string[];
  /** True for one that makes a checkout: it is of no session, and ends with that. */
  readonly isHelper?: boolean;
};

/** Where hands of one platform live. */
export type HandFolders = {
  readonly agent: string;
  readonly etc: string;
  /** Prepared checkouts: hands under other numbers reach one by its name, nobody else knows the folder's. */
  readonly checkouts: string;
  of(handId: string): string;
  list(): Promise<readonly HandNote[]>;
};

/**
 * Makes or takes over `root`. Refuses one that belongs to somebody else: whoever owns it owns the hands.
 * Throws in words.
 */
export async function openFolders(root: string, platform: string, agentPath: string): Promise<HandFolders> {
  await mkdir(root, { recursive: true, mode: 0o711 });
  const found = await lstat(root);
  const mine = process.getuid?.() ?? 0;
  if (!found.isDirectory() || found.uid !== mine || (found.mode & 0o022) !== 0) {
    throw new Error(`${root} must be a folder of this user that nobody else can write to`);
  }
  await chmod(root, 0o711); // hands run under numbers of their own, and must reach the agent by its name
  const hands = join(root, "hands", short(platform));
  if (join(hands, "hand_".padEnd(40, "x"), "socket").length > MAX_SOCKET_PATH) {
    throw new Error(`${root} is too long a path for a socket (MH_HAND_STATE_DIR)`);
  }
  await mkdir(hands, { recursive: true, mode: 0o700 });
  const agent = join(root, "bin", basename(agentPath));
  const etc = join(root, "etc");
  for (const folder of [join(root, "bin"), etc]) await mkdir(folder, { recursive: true, mode: 0o755 });
  await place(agent, 0o755, (path) => copyFile(agentPath, path));
  for (const [name, text] of Object.entries(ETC)) {
    await place(join(etc, name), 0o644, (path) => writeFile(path, text));
  }
  return {
    agent,
    etc,
    checkouts: await secretFolder(root, `${hands}.checkouts`),
    of: (handId) => join(hands, handId),
    async list() {
      const notes = (await readdir(hands)).map((handId) => readNote(join(hands, handId)));
      return (await Promise.all(notes)).filter((note) => note !== undefined);
    },
  };
}

/** A folder in `root`, which only its owner can list, whose name stands in `file`, which only its owner can read. */
async function secretFolder(root: string, file: string): Promise<string> {
  await writeFile(file, randomBytes(SECRET_BYTES).toString("hex"), { flag: "wx", mode: 0o600 }).catch(() => undefined);
  const name = (await readFile(file, "utf8")).trim();
  if (name.length !== 2 * SECRET_BYTES) throw new Error(`${file} is damaged: remove it`);
  const folder = join(root, "checkouts", name);
  for (const path of [join(root, "checkouts"), folder]) await mkdir(path, { recursive: true, mode: 0o711 });
  return folder;
}

/** A platform's name may be as long as it likes; a socket's path may not. */
function short(platform: string): string {
  return createHash("sha256").update(platform).digest("hex").slice(0, PLATFORM_DIGITS);
}

/** Written beside its place and renamed: two managers that start at once never see half a file. */
async function place(path: string, mode: number, write: (path: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${process.pid}`;
  await write(temporary);
  await chmod(temporary, mode);
  await rename(temporary, path);
}

/** The folder of a new hand, its journal owned by the number the agent runs under. */
export async function makeHandFolder(folder: string, note: HandNote): Promise<void> {
  await mkdir(join(folder, "journal"), { recursive: true, mode: 0o700 });
  if (note.base > 0) await chown(join(folder, "journal"), note.base, note.base);
  await writeFile(join(folder, "hand.json"), JSON.stringify(note), { mode: 0o600 });
}

/** Undefined when there is no such hand, or its making was cut off before the first file. */
export async function readNote(folder: string): Promise<HandNote | undefined> {
  try {
    const note: unknown = JSON.parse(await readFile(join(folder, "hand.json"), "utf8"));
    return isNote(note) ? note : undefined;
  } catch {
    return undefined;
  }
}

function isNote(value: unknown): value is HandNote {
  if (typeof value !== "object" || value === null) return false;
  const field = new Map(Object.entries(value));
  return (
    typeof field.get("handId") === "string" &&
    typeof field.get("sessionId") === "string" &&
    typeof field.get("createdAtMs") === "number" &&
    typeof field.get("base") === "number" &&
    Array.isArray(field.get("cgroups"))
  );
}

/** Everything of a hand on disk. */
export async function removeHandFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}
