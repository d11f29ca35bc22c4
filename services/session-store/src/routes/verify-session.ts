import { AppError, type MethodHandler } from "@manyhands/kit";
import type { SessionService } from "@manyhands/protocol";
import { walkHistory } from "../carry/verify-history.ts";
import type { Deps } from "../deps.ts";
import { decodeFrame } from "../log/hot-session.ts";
import { checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

/** Proves the stored chain, whatever is in memory; what this replica remembers of the head vouches for the end. */
export function verifySession(
  deps: Pick<Deps, "store" | "cache" | "index">,
): MethodHandler<typeof SessionService.method.verifySession> {
  return async (request, context) => {
    const { workspaceId, sessionId } = request;
    const rule = rules();
    checkWorkspace(rule, workspaceId, true);
    checkSessionId(rule, sessionId);
    rule.done();
    const remembered = await remember(deps, sessionId);
    const stored = await deps.store.lastFrame(sessionId);
    if (stored === undefined && remembered.frames === 0) throw AppError.notFound("session", sessionId);
    const frames = Math.max((stored ?? -1) + 1, remembered.frames);
    const walk = walkHistory(deps.store, sessionId, {
      frames,
      signal: context.signal,
      ...(remembered.hash === undefined || remembered.frames !== frames ? {} : { headHash: remembered.hash }),
    });
    let owner = remembered.workspaceId;
    let isDeleted = false;
    for (;;) {
      const step = await walk.next();
      if (step.done === true) {
        if (isDeleted || (workspaceId !== "" && owner !== workspaceId)) throw AppError.notFound("session", sessionId);
        const { proved, bad } = step.value;
        return {
          intact: bad === undefined,
          headHash: proved.hash,
          frames: BigInt(proved.frames),
          headPosition: BigInt(proved.position),
          ...(bad === undefined ? {} : { firstBadFrame: BigInt(bad.frame), problem: bad.problem }),
        };
      }
      for (const { payload } of step.value.frame.events) {
        if (payload.case === "sessionCreated" || payload.case === "sessionForked") owner = payload.value.workspaceId;
        if (payload.case === "sessionDeleted") isDeleted = true;
      }
    }
  };
}

interface Remembered {
  readonly frames: number;
  readonly hash?: Uint8Array;
  readonly workspaceId: string;
}

/** What is in memory of a session, also of one whose log is damaged. NOT_FOUND when it was deleted or never was. */
async function remember(deps: Pick<Deps, "cache" | "index" | "store">, sessionId: string): Promise<Remembered> {
  const start = deps.index.startOf(sessionId);
  try {
    const hot = await deps.cache.current(sessionId);
    return { frames: hot.nextFrame, hash: hot.lastHash, workspaceId: hot.header?.workspace_id ?? "" };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const isDamaged =
      error.reason === "LOG_DAMAGED" || (error.kind === "notFound" && (await lacksBeginning(deps, sessionId)));
    if (!isDamaged) throw error;
    return { frames: start?.nextFrame ?? 0, workspaceId: start?.header.workspace_id ?? "" };
  }
}

/** True when frames are stored but the first: a tombstone says why, anything else is damage. */
async function lacksBeginning({ store }: Pick<Deps, "store">, sessionId: string): Promise<boolean> {
  const last = await store.lastFrame(sessionId);
  if (last === undefined) return false;
  const [stored] = await store.read(sessionId, [last]);
  return stored !== undefined && !decodeFrame(stored).events.some((event) => event.type === "session.deleted");
}
