/** Makes a new hand's files those of a moment: what the recipe made is there already, the rest is written. */
import { createHash } from "node:crypto";
import { AppError, newId } from "@manyhands/kit";
import type { Hand, OperationAction } from "../drivers/driver.ts";
import { type FileEntry, fileMap, SNAPSHOT_ROOTS } from "./file-state.ts";
import type { FileStore } from "./file-store.ts";
import { readManifest } from "./read-files.ts";
import type { Moment } from "./snapshots.ts";

const STEP_MS = 60_000;
const WRITES_AT_ONCE = 16;
const MAX_ARGUMENTS = 200;
const MAX_ARGUMENT_BYTES = 30_000;
const USUAL_FOLDER_MODE = 0o755;

/** Throws AppError `conflict`/FILES_GONE when something of the moment is not to be had any more. */
export async function restoreFiles(hand: Hand, moment: Moment, store: FileStore): Promise<void> {
  const there = fileMap(await readManifest(hand, SNAPSHOT_ROOTS));
  const { files } = moment;
  const step = createStepper(hand);
  const isWrong = (path: string, entry: FileEntry) => {
    const wanted = files.get(path);
    return !wanted || wanted.type !== entry.type || (wanted.data !== undefined && wanted.mode !== entry.mode);
  };
  const removed = [...there].filter(([path, entry]) => isWrong(path, entry)).map(([path]) => path);
  await step.each(["rm", "-rf", "--"], topmost(removed));
  const gone = new Set(removed);
  const has = (path: string) => there.has(path) && !isBelow(path, gone);

  const folders = [...files].filter(([path, entry]) => entry.type === "directory" && !has(path)).sort(byPath);
  await step.each(
    ["mkdir", "-p", "--"],
    folders.map(([path]) => path),
  );
  const written = [...files].filter(([, entry]) => entry.data !== undefined);
  await writeAll(hand, moment, written, store);
  for (const [path, { type, target = "" }] of files) {
    if (type === "link" && !(has(path) && there.get(path)?.target === target)) {
      await step.run(["rm", "-f", "--", path]);
      await step.run(["ln", "-s", "--", target, path]);
    }
  }
  const modeOf = (path: string) => (has(path) ? there.get(path)?.mode : USUAL_FOLDER_MODE);
  const others = [...files].filter(([path, entry]) => entry.type === "directory" && entry.mode !== modeOf(path));
  for (const [mode, paths] of byMode(others.sort(byPath).reverse()))
    await step.each(["chmod", mode.toString(8), "--"], paths);

  const missing = [...files].filter(([path, entry]) => entry.type === "file" && !entry.data && !has(path));
  if (missing.length > 0) {
    const [first] = missing;
    throw filesGone(`${missing.length} files of the recipe are not there, for instance ${first?.[0]}`);
  }
}

async function writeAll(
  hand: Hand,
  { sessionId }: Moment,
  files: readonly (readonly [string, FileEntry])[],
  store: FileStore,
): Promise<void> {
  const bySource = new Map<string, (readonly [string, FileEntry])[]>();
  for (const file of files) {
    const source = file[1].data?.sha256 ?? "";
    const some = bySource.get(source) ?? [];
    some.push(file);
    bySource.set(source, some);
  }
  for (const [sha256, some] of bySource) {
    const bytes = await store.readData(sessionId, sha256, some[0]?.[1].data?.wholeBytes ?? 0);
    if (!bytes) throw filesGone(`the content ${sha256} is not kept any more`);
    for (let from = 0; from < some.length; from += WRITES_AT_ONCE) {
      await Promise.all(
        some.slice(from, from + WRITES_AT_ONCE).map(async ([path, { data, sizeBytes, mode }]) => {
          const offset = data?.offset ?? 0;
          const content = bytes.subarray(offset, offset + sizeBytes);
          await perform(hand, { kind: "write", path, content, mode }, path);
        }),
      );
    }
  }
}

function createStepper(hand: Hand) {
  const run = (argv: readonly string[]) => perform(hand, { kind: "exec", argv }, argv.slice(0, 2).join(" "));
  return {
    run,
    /** The command with as many of the paths at once as fit. */
    async each(command: readonly string[], paths: readonly string[]): Promise<void> {
      let some: string[] = [];
      let bytes = 0;
      for (const path of paths) {
        if (some.length >= MAX_ARGUMENTS || bytes + path.length > MAX_ARGUMENT_BYTES) {
          await run([...command, ...some]);
          some = [];
          bytes = 0;
        }
        some.push(path);
        bytes += Buffer.byteLength(path) + 8;
      }
      if (some.length > 0) await run([...command, ...some]);
    },
  };
}

async function perform(hand: Hand, action: OperationAction, what: string): Promise<void> {
  const id = newId("restore");
  const inputHash = createHash("sha256").update(id).digest();
  const { parts } = await hand.start({ id, inputHash, timeoutMs: STEP_MS, action });
  for await (const part of parts) {
    if (part.type !== "exit" || part.state.exitCode === 0) continue;
    throw AppError.unavailable("RESTORE_FAILED", `${what} failed in the new hand (${part.state.exitCode})`);
  }
}

function filesGone(why: string): AppError {
  return AppError.conflict("FILES_GONE", `the files of that moment cannot be made again: ${why}`);
}

/** Those that are in no other one of them. */
function topmost(paths: readonly string[]): string[] {
  const all = new Set(paths);
  return paths.filter((path) => !isBelow(path.slice(0, path.lastIndexOf("/")), all));
}

/** True for one of the folders and everything in them. */
function isBelow(path: string, folders: ReadonlySet<string>): boolean {
  for (let at = path; at !== ""; at = at.slice(0, at.lastIndexOf("/"))) if (folders.has(at)) return true;
  return false;
}

function byMode(folders: readonly (readonly [string, FileEntry])[]): Map<number, string[]> {
  const modes = new Map<number, string[]>();
  for (const [path, { mode }] of folders) {
    const paths = modes.get(mode) ?? [];
    paths.push(path);
    modes.set(mode, paths);
  }
  return modes;
}

function byPath([a]: readonly [string, FileEntry], [b]: readonly [string, FileEntry]): number {
  return a < b ? -1 : 1;
}
