/** Removes one session with everything that is its own. */
import { create } from "@bufbuild/protobuf";
import type { SessionHeader } from "@manyhands/core";
import { newId } from "@manyhands/kit";
import { EventSchema } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { sessionRunning } from "../log/errors.ts";
import type { AppendContext } from "../log/session-log.ts";
import { purgeFrames, refuseWhileForked } from "./forks.ts";

/** What removing needs. */
export type RemoveDeps = Pick<Deps, "log" | "cache" | "store" | "side" | "index" | "lastStored">;

/** What went, and what stays. */
export interface Removed {
  readonly frames: number;
  /** What stood beside the log. */
  readonly objects: number;
  /** Frames that stay under the session's id. */
  readonly framesLeft: number;
}

/**
 * Writes `session.deleted`, which ends every stream, then removes all frames before it and what stands beside the log.
 * The frame that says so stays as a tombstone: it keeps the id from being used again and stops a writer that still
 * believes in an older head. Throws SESSION_RUNNING, SESSION_FORKED, and what `guard` throws for the header of that
 * very moment.
 */
export async function removeSession(
  deps: RemoveDeps,
  { workspaceId, sessionId }: { readonly workspaceId: string; readonly sessionId: string },
  context: AppendContext,
  guard: (header: SessionHeader) => void = () => undefined,
): Promise<Removed> {
  await refuseWhileForked(deps, workspaceId, sessionId);
  const hot = await deps.cache.open(sessionId);
  const event = create(EventSchema, {
    id: newId("sevt"),
    type: "session.deleted",
    payload: { case: "sessionDeleted", value: {} },
  });
  await deps.log.remove(sessionId, { events: [event], requestId: "", epoch: 0 }, context, (header) => {
    if (header.status === "running" || header.status === "rescheduling") throw sessionRunning(sessionId);
    guard(header);
  });
  const { isKept, frames, objects } = await purgeFrames(deps, workspaceId, sessionId);
  deps.cache.drop(sessionId);
  return { frames, objects, framesLeft: isKept ? hot.nextFrame - hot.ownFrom : 1 };
}
