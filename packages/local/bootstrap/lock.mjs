import { linkSync, mkdirSync, readFileSync, rmdirSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isSameProcessAlive, startOfProcess } from "./process-identity.mjs";

const TAKEOVER_STALE_MS = 10_000;
const POLL_MS = 100;

/**
 * Takes the lock file or says who holds it. The file appears with its content in one step (hard link), so
 * nobody ever reads a half-written lock. A lock whose process is gone is taken over; a directory beside it
 * makes the takeover itself exclusive, else two could each delete the other's new lock.
 */
export function tryLock(file) {
  mkdirSync(dirname(file), { recursive: true });
  const mine = { pid: process.pid, start: startOfProcess(process.pid) ?? "" };
  const draft = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  writeFileSync(draft, JSON.stringify(mine));
  try {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      if (link(draft, file)) return { held: true, release: () => release(file, mine) };
      const holder = readHolder(file);
      if (holder !== undefined && isSameProcessAlive(holder)) return { held: false, holder };
      if (!removeStale(file)) return { held: false, holder };
    }
    return { held: false, holder: readHolder(file) };
  } finally {
    unlinkSync(draft);
  }
}

/** Waits for the lock at most `timeoutMs`; `onWait` is called once when somebody else holds it. */
export async function waitForLock(file, { timeoutMs, onWait }) {
  const deadline = Date.now() + timeoutMs;
  let told = false;
  for (;;) {
    const attempt = tryLock(file);
    if (attempt.held || Date.now() > deadline) return attempt;
    if (!told) onWait?.(attempt.holder);
    told = true;
    await delay(POLL_MS);
  }
}

/** Who holds the lock right now; undefined when nobody alive does. */
export function lockHolder(file) {
  const holder = readHolder(file);
  return holder !== undefined && isSameProcessAlive(holder) ? holder : undefined;
}

function link(draft, file) {
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

function readHolder(file) {
  try {
    const holder = JSON.parse(readFileSync(file, "utf8"));
    return typeof holder?.pid === "number" ? holder : undefined;
  } catch {
    return undefined;
  }
}

/** False: somebody else is taking over at this moment. */
function removeStale(file) {
  const guard = `${file}.takeover`;
  try {
    mkdirSync(guard);
  } catch {
    try {
      if (Date.now() - statSync(guard).mtimeMs > TAKEOVER_STALE_MS) rmdirSync(guard);
    } catch {
      // It went away by itself: the next attempt finds out.
    }
    return false;
  }
  try {
    const holder = readHolder(file);
    if (holder === undefined || !isSameProcessAlive(holder)) unlinkSync(file);
  } catch {
    // Already gone.
  } finally {
    rmdirSync(guard);
  }
  return true;
}

function release(file, mine) {
  const holder = readHolder(file);
  if (holder?.pid === mine.pid && holder.start === mine.start) unlinkSync(file);
}
