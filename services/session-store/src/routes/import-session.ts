import { isId } from "@manyhands/core";
import { AppError, idTimeMs, type MethodHandler, newId } from "@manyhands/kit";
import type { ImportSessionRequest, SessionService } from "@manyhands/protocol";
import { buildFirstFrame } from "../carry/first-frame.ts";
import { type Imported, importFrames, purgeCarrier } from "../carry/import-frames.ts";
import { maxImportMs } from "../carry/reap-carriers.ts";
import type { Deps } from "../deps.ts";
import { idReused } from "../log/errors.ts";
import { sessionToWire } from "../log/header-wire.ts";
import { appendContext, checkWorkspace, rules } from "./request-rules.ts";

type ImportDeps = Pick<Deps, "log" | "store" | "side" | "clock" | "config">;

/** Keeps the file's frames out of sight until all are proved; then one append makes the session that shares them. */
export function importSession(deps: ImportDeps): MethodHandler<typeof SessionService.method.importSession> {
  return async (requests, context) => {
    const pieces = requests[Symbol.asyncIterator]();
    const opening = await pieces.next();
    if (opening.done === true) throw AppError.invalid([{ field: "chunk", description: "is required" }]);
    const first = opening.value;
    const rule = rules();
    checkWorkspace(rule, first.workspaceId, false);
    rule.check(first.sessionId === "" || isId("session", first.sessionId), "session_id", "must be empty or sesn_…");
    rule.done();
    if (first.sessionId !== "" && (await deps.store.exists(first.sessionId)))
      throw idReused("session_id", first.sessionId);
    const imported = await importFrames(deps, chunksFrom(first, pieces), context.signal);
    try {
      checkInTime(imported, deps.clock.nowMs());
      const sessionId = await chooseId(deps, first.sessionId, imported);
      const built = firstFrame(sessionId, first.workspaceId, imported, deps.clock.nowMs());
      const bounds = appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs);
      if (!(await deps.log.begin(built, bounds)) || built.header === undefined) throw idReused("session_id", sessionId);
      return { session: sessionToWire(sessionId, built.header) };
    } catch (error) {
      // After an unknown outcome the session may exist: what it shares must stay.
      const isUnknown = error instanceof AppError && error.reason === "OUTCOME_UNKNOWN";
      if (!isUnknown) await purgeCarrier(deps, imported.carrierId);
      throw error;
    }
  };
}

async function* chunksFrom(
  first: ImportSessionRequest,
  rest: AsyncIterator<ImportSessionRequest>,
): AsyncGenerator<Uint8Array> {
  yield first.chunk;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value.chunk;
}

/** Later, what it carried may be taken for something left behind. */
function checkInTime({ carrierId }: Imported, nowMs: number): void {
  if (nowMs - (idTimeMs(carrierId) ?? 0) <= maxImportMs) return;
  throw AppError.deadline(`an import must be done within ${maxImportMs / 60_000} minutes`);
}

/** The id asked for, else the one in the file when it is free, else a new one. */
async function chooseId(deps: ImportDeps, wanted: string, { manifest }: Imported): Promise<string> {
  if (wanted !== "") return wanted;
  const inFile = manifest.session?.id ?? "";
  return isId("session", inFile) && !(await deps.store.exists(inFile)) ? inFile : newId("sesn");
}

function firstFrame(sessionId: string, workspaceId: string, imported: Imported, nowMs: number) {
  const { carrierId, manifest, header, proved } = imported;
  return buildFirstFrame(
    sessionId,
    {
      sessionId: manifest.session?.id ?? "",
      position: proved.position,
      carrierId,
      header: { ...header, workspace_id: workspaceId, vault_ids: [] },
    },
    { frames: proved.frames, previousHash: proved.hash, repeated: [] },
    { requestId: "", nowMs },
  );
}
