/** Whether files can be given to a session: each is there, all have room, and no path is another's. */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { MAX_MOUNTED_BYTES, MAX_MOUNTED_FILES, mountPathClash, UPLOADS_FOLDER } from "@manyhands/core";
import { AppError, type FieldViolation, toAppError } from "@manyhands/kit";
import type { Deps } from "./deps.ts";
import type { Call } from "./http/call.ts";

/** A file that is to be given: its field in the request names it, absent for one the session has. */
export type GivenFile = { readonly fileId: string; readonly path: string; readonly field?: string };

const AT_ONCE = 10;

/** Throws AppError `invalid` naming every field that breaks a rule. */
export async function checkGivenFiles(
  deps: Pick<Deps, "files">,
  call: Call,
  files: readonly GivenFile[],
): Promise<void> {
  if (files.length === 0) return;
  const problems: FieldViolation[] = [];
  const field = files.find((file) => file.field !== undefined)?.field ?? "resources";
  if (files.length > MAX_MOUNTED_FILES)
    throw AppError.invalid([{ field, description: `a session has at most ${MAX_MOUNTED_FILES} files` }]);
  const clash = mountPathClash([...files.map(({ path }) => path), ...contentPlaces(files)]);
  if (clash !== undefined) {
    problems.push({ field, description: `mount_path: ${clash[0]} and ${clash[1]} cannot both be there` });
  }
  let bytes = 0;
  const byId = [...new Set(files.map(({ fileId }) => fileId))];
  for (let from = 0; from < byId.length; from += AT_ONCE) {
    const found = await Promise.all(byId.slice(from, from + AT_ONCE).map((fileId) => sizeOf(deps, call, fileId)));
    for (const [index, size] of found.entries()) {
      const fileId = byId[from + index];
      const asked = files.find((file) => file.fileId === fileId && file.field !== undefined);
      if (size === undefined && asked?.field !== undefined) {
        problems.push({ field: `${asked.field}.file_id`, description: `${fileId} does not exist or has expired` });
      }
      bytes += size ?? 0;
    }
  }
  if (bytes > MAX_MOUNTED_BYTES) {
    const description = `the files of a session may have ${MAX_MOUNTED_BYTES} bytes in all; these have ${bytes}`;
    problems.push({ field, description });
  }
  if (problems.length > 0) throw AppError.invalid(problems);
}

/** Where contents stand that only links lead to; several links may lead to one, and one may be mounted there itself. */
function contentPlaces(files: readonly GivenFile[]): string[] {
  const linked = files.filter(({ path }) => !path.startsWith(`${UPLOADS_FOLDER}/`));
  const places = new Set(linked.map(({ fileId }) => `${UPLOADS_FOLDER}/${fileId}`));
  for (const { fileId, path } of files) if (path === `${UPLOADS_FOLDER}/${fileId}`) places.delete(path);
  return [...places];
}

async function sizeOf(deps: Pick<Deps, "files">, call: Call, fileId: string): Promise<number | undefined> {
  try {
    const { file } = await deps.files.getFile({ workspaceId: call.caller.workspaceId, fileId }, call.rpc);
    const isExpired = file?.expiresAt !== undefined && timestampMs(file.expiresAt) <= Date.now();
    return file === undefined || isExpired ? undefined : Number(file.size);
  } catch (thrown) {
    if (toAppError(thrown).kind === "notFound") return undefined;
    throw thrown;
  }
}
