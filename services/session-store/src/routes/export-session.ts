import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError, type MethodHandler } from "@manyhands/kit";
import {
  encodeSessionFileFrame,
  encodeSessionFileManifest,
  type SessionService,
  sessionFileVersion,
} from "@manyhands/protocol";
import { blobRecords } from "../carry/carry-blobs.ts";
import { chunksOf } from "../carry/chunks.ts";
import { walkHistory } from "../carry/verify-history.ts";
import type { Deps } from "../deps.ts";
import { logDamaged } from "../log/errors.ts";
import { sessionToWire } from "../log/header-wire.ts";
import type { HotSession } from "../log/hot-session.ts";
import { checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

const maxChunkBytes = 256 * 1024;

/** The file of a session as of now; a damaged log is not carried on. */
export function exportSession(
  deps: Pick<Deps, "store" | "blobs" | "cache" | "clock">,
): MethodHandler<typeof SessionService.method.exportSession> {
  return async function* (request, context) {
    const { workspaceId, sessionId } = request;
    const rule = rules();
    checkWorkspace(rule, workspaceId, false);
    checkSessionId(rule, sessionId);
    rule.done();
    const hot = await deps.cache.current(sessionId);
    if (hot.header?.workspace_id !== workspaceId) throw AppError.notFound("session", sessionId);
    for await (const chunk of chunksOf(records(deps, hot, context.signal), maxChunkBytes)) yield { chunk };
  };
}

async function* records(
  deps: Pick<Deps, "store" | "blobs" | "clock">,
  { sessionId, header, nextFrame: frames, lastHash: headHash }: HotSession,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  if (header === undefined) throw AppError.notFound("session", sessionId);
  yield encodeSessionFileManifest({
    formatVersion: sessionFileVersion,
    session: sessionToWire(sessionId, header),
    frames: BigInt(frames),
    events: BigInt(header.head_position),
    headHash,
    exportedAt: timestampFromMs(deps.clock.nowMs()),
  });
  const named = new Set<string>();
  const walk = walkHistory(deps.store, sessionId, { frames, headHash, signal });
  for (;;) {
    const step = await walk.next();
    if (step.done === true) {
      const { bad } = step.value;
      if (bad !== undefined) throw logDamaged(sessionId, bad.frame, bad.problem);
      return;
    }
    const { stored, frame } = step.value;
    yield encodeSessionFileFrame(stored.payload);
    yield* blobRecords(deps.blobs, sessionId, stored.frame, frame.events, named);
  }
}
