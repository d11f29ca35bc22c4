/** The bubblewrap hands of one platform, seen from outside: each is a folder with its keeper's process number. */
import { readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const END_MS = 5_000;
const POLL_MS = 20;

/** One hand. */
export interface BubblewrapHand {
  readonly folder: string;
  readonly sessionId: string;
  /** The keeper: the hand ends with it. */
  readonly pid: number;
  readonly cgroups: readonly string[];
}

/** The hands whose keepers run. */
export function bubblewrapHands(stateDir: string): BubblewrapHand[] {
  return foldersIn(join(stateDir, "hands"))
    .flatMap(foldersIn)
    .map(describe)
    .filter((hand): hand is BubblewrapHand => hand !== undefined && isKeeper(hand));
}

/** Ends them and removes everything of this platform's hands. */
export async function removeBubblewrapHands(stateDir: string): Promise<void> {
  const hands = foldersIn(join(stateDir, "hands")).flatMap(foldersIn).map(describe);
  for (const hand of hands) {
    if (hand === undefined) continue;
    if (isKeeper(hand)) process.kill(hand.pid, "SIGKILL");
    const deadline = performance.now() + END_MS;
    for (const group of hand.cgroups) while (!isRemoved(group) && performance.now() < deadline) await delay(POLL_MS);
  }
  rmSync(stateDir, { recursive: true, force: true });
}

function isRemoved(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ENOENT";
  }
}

function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

function describe(folder: string): BubblewrapHand | undefined {
  try {
    const note: unknown = JSON.parse(readFileSync(join(folder, "hand.json"), "utf8"));
    if (typeof note !== "object" || note === null) return undefined;
    const fields = new Map<string, unknown>(Object.entries(note));
    const groups = fields.get("cgroups");
    const cgroups = Array.isArray(groups) ? groups.filter((group) => typeof group === "string") : [];
    const pid = Number(readFileSync(join(folder, "keeper"), "utf8").trim());
    return { folder, sessionId: String(fields.get("sessionId") ?? ""), pid, cgroups };
  } catch {
    return undefined;
  }
}

/** A number alone proves nothing: it may be another process's by now. */
function isKeeper({ pid, folder }: BubblewrapHand): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(folder);
  } catch {
    return false;
  }
}
