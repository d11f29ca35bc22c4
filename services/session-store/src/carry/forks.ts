/** Who shares a session's frames: asked before they are removed. */
import { isId } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { IndexedSession } from "../projections/session-index.ts";
import { purgeCarrier } from "./import-frames.ts";

/** What went. */
export interface Purged {
  /** True when nothing did, because it is shared, or may be: what others share must never go. */
  readonly isKept: boolean;
  readonly frames: number;
  /** What stood beside the log. */
  readonly objects: number;
}

const maxNamed = 20;
const waitForIndexMs = 5000;

/**
 * Ids of the sessions that share frames with this one; undefined when the index cannot say in time. Complete for every
 * fork that was stored before the last frame this process stored.
 */
export async function forksOf(
  deps: Pick<Deps, "index" | "lastStored">,
  workspaceId: string,
  sessionId: string,
): Promise<readonly string[] | undefined> {
  if (!(await deps.index.readOn(deps.lastStored(), waitForIndexMs))) return undefined;
  const sessions = deps.index.ofWorkspace(workspaceId);
  const isFork = ({ header: { origin } }: IndexedSession) =>
    origin?.session_id === sessionId && origin.carrier_id === undefined;
  return sessions.filter((one) => one.shared > 0 && isFork(one)).map((one) => one.sessionId);
}

/** Throws SESSION_FORKED while others share the session's frames. */
export async function refuseWhileForked(
  deps: Pick<Deps, "index" | "lastStored">,
  workspaceId: string,
  sessionId: string,
): Promise<void> {
  const forks = await forksOf(deps, workspaceId, sessionId);
  if (forks === undefined) throw AppError.unavailable("UNAVAILABLE", "the list of sessions lags behind; try again");
  if (forks.length === 0) return;
  const named = forks.slice(0, maxNamed).join(",");
  const message = `session ${sessionId} has ${forks.length} forks that share its history: ${named}; delete them first`;
  throw new AppError("fenced", { reason: "SESSION_FORKED", message, details: { metadata: { fork_ids: named } } });
}

/**
 * Removes a deleted session's frames, and those of its carrier when it was imported, but the one that says so, and
 * what stands beside the log. While a fork shares them, made in the same instant, they stay.
 */
export async function purgeFrames(
  deps: Pick<Deps, "index" | "lastStored" | "store" | "side">,
  workspaceId: string,
  sessionId: string,
): Promise<Purged> {
  const forks = await forksOf(deps, workspaceId, sessionId);
  if (forks?.length !== 0) return { isKept: true, frames: 0, objects: 0 }; // not known in time counts as forked
  const objects = await deps.side.purge(sessionId);
  const [, below] = await deps.store.keepers(sessionId);
  const carried =
    below === undefined || isId("session", below.sessionId) ? 0 : await purgeCarrier(deps, below.sessionId);
  return { isKept: false, frames: carried + (await deps.store.purge(sessionId)), objects };
}
