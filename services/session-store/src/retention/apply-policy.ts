/** Removes the sessions that a policy does not keep. */
import { AppError } from "@manyhands/kit";
import { type RemoveDeps, removeSession } from "../carry/remove-session.ts";
import type { Deps } from "../deps.ts";
import type { AppendContext } from "../log/session-log.ts";
import { type Doomed, type Policy, planRetention } from "./plan-retention.ts";

const waitForIndexMs = 5000;
/** Reasons for which one session is kept while the others go on being removed. */
const keeps: ReadonlySet<string> = new Set(["SESSION_FORKED", "SESSION_RUNNING", "SESSION_MOVED"]);

/** What it needs. */
export type ApplyDeps = RemoveDeps & Pick<Deps, "clock">;

/** How it is done. */
export interface ApplyOptions {
  readonly dryRun: boolean;
  readonly maxRemovals: number;
  /** Deadline and cancellation of one removal; throws when no more is to be removed. */
  bounds(): AppendContext;
}

/** A session that the policy does not keep. */
export interface Finding extends Doomed {
  /** Why it was kept all the same; empty when it went, or would. */
  readonly keptBecause: string;
}

/** What was found, longest unmoved first, and how many more the policy does not keep. */
export interface Applied {
  readonly findings: readonly Finding[];
  readonly left: number;
}

/** Applies the policy once. Throws `unavailable` while the list of sessions lags behind. */
export async function applyPolicy(
  deps: ApplyDeps,
  workspaceId: string,
  policy: Policy,
  { dryRun, maxRemovals, bounds }: ApplyOptions,
): Promise<Applied> {
  if (!(await deps.index.readOn(deps.lastStored(), waitForIndexMs))) {
    throw AppError.unavailable("UNAVAILABLE", "the list of sessions lags behind; try again");
  }
  const doomed = planRetention(deps.index.ofWorkspace(workspaceId), policy, deps.clock.nowMs());
  const findings: Finding[] = [];
  for (const one of doomed.slice(0, maxRemovals)) {
    const context = bounds();
    findings.push({ ...one, keptBecause: dryRun ? "" : await remove(deps, workspaceId, one, context) });
  }
  return { findings, left: doomed.length - findings.length };
}

/** Empty when it went, else why it was kept. */
async function remove(deps: ApplyDeps, workspaceId: string, one: Doomed, context: AppendContext): Promise<string> {
  const { sessionId } = one;
  try {
    await removeSession(deps, { workspaceId, sessionId }, context, (header) => {
      if (header.updated_at !== one.updatedAt) throw moved(sessionId);
    });
    return "";
  } catch (error) {
    if (error instanceof AppError && keeps.has(error.reason)) return error.reason;
    if (error instanceof AppError && error.kind === "notFound") return ""; // someone else was faster
    throw error;
  }
}

function moved(sessionId: string): AppError {
  return new AppError("fenced", { reason: "SESSION_MOVED", message: `session ${sessionId} has moved since` });
}
