/** A look into the bubblewrap hands of a session, from the machine they run on: their secret never goes in. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bubblewrapHands } from "../bubblewrap-hands.ts";
import { SetupError } from "../setup-error.ts";
import type { Sweep } from "./hands-of-session.ts";

const FOLDERS = ["workspace", "tmp", "home", "etc", ".manyhands/run", "dev/shm"];
const MAX_FILES = 20_000;

/** SIGKILLs the session's hands; answers how many there were. */
export function killBubblewrap(stateDir: string, sessionId: string): number {
  const hands = bubblewrapHands(stateDir).filter((hand) => hand.sessionId === sessionId);
  for (const { pid } of hands) process.kill(pid, "SIGKILL");
  return hands.length;
}

/** Environments, command lines and files of each hand of the session. Throws when nothing could be read. */
export function sweepBubblewrap(stateDir: string, sessionId: string, secret: string): Sweep[] {
  const forms = [secret, Buffer.from(`x-access-token:${secret}`).toString("base64")];
  return bubblewrapHands(stateDir)
    .filter((hand) => hand.sessionId === sessionId)
    .map(({ pid }) => {
      const processes = below(pid);
      const places = processes.flatMap((one) => [`/proc/${one}/environ`, `/proc/${one}/cmdline`]);
      // The tools' own processes are the innermost: the root of the last one is the hand's.
      const root = `/proc/${processes.at(-1) ?? pid}/root`;
      const contents = [...places, ...FOLDERS.flatMap((folder) => filesIn(join(root, folder)))].map(contentOf);
      const bytes = contents.reduce((sum, content) => sum + content.length, 0);
      if (bytes === 0) throw new SetupError("the look into the sandbox read nothing", { advice: "" });
      return { bytes, found: contents.some((content) => forms.some((form) => content.includes(form))) };
    });
}

function below(ancestor: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    const parent = /^PPid:\s+(\d+)$/m.exec(contentOf(`/proc/${name}/status`).toString("utf8"))?.[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const found: number[] = [];
  const wanted = new Set([ancestor]);
  for (const [pid, parent] of [...parents].sort(([a], [b]) => a - b)) {
    if (!wanted.has(parent)) continue;
    wanted.add(pid);
    found.push(pid);
  }
  return found;
}

function filesIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    return files.slice(0, MAX_FILES);
  } catch {
    return [];
  }
}

function contentOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}
