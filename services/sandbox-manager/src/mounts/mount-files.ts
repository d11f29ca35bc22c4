/**
 * Files of a session in its hand. A content stands below `/mnt/session/uploads`, put there by the agent, so that no tool
 * can change it; a path anywhere else is a link to it. What cannot be had is told and the hand works without it.
 */
import { dirname } from "node:path/posix";
import { MAX_MOUNTED_BYTES, UPLOADS_FOLDER } from "@manyhands/core";
import { toAppError } from "@manyhands/kit";
import type { Driver, Hand } from "../drivers/driver.ts";
import type { MountedFile } from "../hands/hand-record.ts";
import type { RecipeProblem } from "../recipe/recipe-repository.ts";
import { errnoText } from "../tools/errno.ts";
import type { FileSource } from "./file-source.ts";
import { perform, placeFile } from "./place-file.ts";

const PIECE_BYTES = 2 * 1024 * 1024;

/** Whose hand it is, and where its files come from. */
export type MountContext = {
  readonly hand: Hand;
  readonly driver: Driver;
  readonly sessionId: string;
  readonly source: FileSource;
};

/** Makes the files of a hand those that are wanted, from those it had. Rejects only when asking again may help. */
export async function mountFiles(
  context: MountContext,
  wanted: readonly MountedFile[],
  had: readonly MountedFile[] = [],
): Promise<readonly RecipeProblem[]> {
  if (context.driver.takesTools) return wanted.map((file) => problem(file, "this hand has no files"));
  const { hand } = context;
  const places = new Set(wanted.map(placeOf));
  const paths = new Set(wanted.map(({ path }) => path));
  for (const file of had) {
    if (!paths.has(file.path) && isLinked(file) && (await run(hand, ["test", "-L", file.path])) === 0)
      await run(hand, ["rm", "-f", "--", file.path]);
    if (!places.has(placeOf(file))) await placeFile(hand, { path: placeOf(file), step: "remove" });
  }
  const there = new Set(had.map(placeOf));
  const problems: RecipeProblem[] = [];
  let left = MAX_MOUNTED_BYTES;
  for (const file of wanted) {
    if (!there.has(placeOf(file))) {
      const { bytes, why } = await bring(context, file, left);
      left -= bytes;
      if (why !== undefined) {
        problems.push(problem(file, why));
        continue;
      }
      there.add(placeOf(file));
    }
    const why = isLinked(file) ? await link(hand, file) : undefined;
    if (why !== undefined) problems.push(problem(file, why));
  }
  return problems;
}

/** True when nothing has to be done to come from one to the other. */
export function sameMounts(a: readonly MountedFile[], b: readonly MountedFile[]): boolean {
  const told = (files: readonly MountedFile[]) => JSON.stringify(files.map(({ fileId, path }) => [fileId, path]));
  return told(a) === told(b);
}

/** Where the content of a file stands. */
function placeOf({ fileId, path }: MountedFile): string {
  return path.startsWith(`${UPLOADS_FOLDER}/`) ? path : `${UPLOADS_FOLDER}/${fileId}`;
}

function isLinked(file: MountedFile): boolean {
  return placeOf(file) !== file.path;
}

/** Brings a content into the hand, piece by piece; answers what went there and why it is not there. */
async function bring(
  { hand, sessionId, source }: MountContext,
  file: MountedFile,
  maxBytes: number,
): Promise<{ readonly bytes: number; readonly why?: string }> {
  const path = placeOf(file);
  let offset = 0;
  let pieces: Uint8Array[] = [];
  let held = 0;
  const give = async (step: "more" | "last") => {
    const content = Buffer.concat(pieces);
    const errno = await placeFile(hand, { path, offset, content, step });
    if (errno !== 0) throw new NotPlaced(errnoText(errno));
    offset += content.length;
    pieces = [];
    held = 0;
  };
  try {
    for await (const data of source(sessionId, file.fileId)) {
      if (offset + held + data.length > maxBytes)
        throw new NotPlaced(`the files of a session may have ${MAX_MOUNTED_BYTES} bytes in all`);
      pieces.push(data);
      held += data.length;
      if (held >= PIECE_BYTES) await give("more");
    }
    await give("last");
    return { bytes: offset };
  } catch (thrown) {
    const error = thrown instanceof NotPlaced ? undefined : toAppError(thrown);
    if (error && error.kind !== "notFound") throw error;
    await placeFile(hand, { path, step: "remove" });
    return { bytes: 0, why: error?.message ?? String((thrown as Error).message) };
  }
}

class NotPlaced extends Error {}

async function link(hand: Hand, file: MountedFile): Promise<string | undefined> {
  const { path } = file;
  const isThere = (await run(hand, ["test", "-e", path])) === 0;
  if (isThere && (await run(hand, ["test", "-L", path])) !== 0) return "something else is there";
  if ((await run(hand, ["mkdir", "-p", "--", dirname(path)])) !== 0) return "its folder cannot be made";
  await run(hand, ["rm", "-f", "--", path]);
  return (await run(hand, ["ln", "-s", "--", placeOf(file), path])) === 0 ? undefined : "it cannot be put there";
}

function problem({ fileId, path }: MountedFile, why: string): RecipeProblem {
  return { type: "unknown_error", message: `file ${fileId} is not at ${path}: ${why}`, repositoryUrl: "" };
}

function run(hand: Hand, argv: readonly string[]): Promise<number> {
  return perform(hand, { kind: "exec", argv });
}
