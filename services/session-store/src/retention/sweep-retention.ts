/** Applies the policies that say how often they are to be applied. */
import { type Logger, toAppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import { type ApplyDeps, applyPolicy } from "./apply-policy.ts";
import type { Policy } from "./plan-retention.ts";
import { allPolicies, limitsOf, type Turn, takeTurn } from "./policies.ts";

/** Removals of one workspace in one round; what is left waits for the next one. */
const maxRemovals = 10_000;

/** What it needs. */
export type SweepDeps = ApplyDeps & Pick<Deps, "retention" | "config"> & { readonly logger: Logger };

/** One round; answers the workspaces whose policy was applied. Never throws: what failed is tried in the next round. */
export async function sweepRetention(deps: SweepDeps, signal: AbortSignal): Promise<string[]> {
  const { retention, clock, logger } = deps;
  const failed = (error: unknown, workspaceId?: string) => {
    if (signal.aborted) return;
    logger.warn({ err: toAppError(error), workspace_id: workspaceId }, "a retention policy could not be applied");
  };
  const done: string[] = [];
  const policies = await allPolicies(retention).catch((error: unknown) => {
    failed(error);
    return [];
  });
  for (const { workspaceId, policy } of policies) {
    const everyMs = Number(policy.applyEverySeconds) * 1000;
    let turn: Turn | undefined;
    try {
      turn = everyMs === 0 ? undefined : await takeTurn(retention, workspaceId, everyMs, clock.nowMs());
      if (turn === undefined) continue;
      await applyByItself(deps, workspaceId, limitsOf(policy), signal);
      done.push(workspaceId);
    } catch (error) {
      failed(error, workspaceId);
      await turn?.giveBack().catch(() => undefined); // then it is due again after its period
    }
  }
  return done;
}

async function applyByItself(deps: SweepDeps, workspaceId: string, limits: Policy, signal: AbortSignal): Promise<void> {
  const { clock, config, logger } = deps;
  const { findings, left } = await applyPolicy(deps, workspaceId, limits, {
    dryRun: false,
    maxRemovals,
    bounds() {
      signal.throwIfAborted();
      return { deadlineMs: clock.nowMs() + config.log.appendTimeoutMs, signal };
    },
  });
  const kept = findings.filter((one) => one.keptBecause !== "").length;
  const counts = { removed: findings.length - kept, kept, left };
  if (findings.length > 0) logger.info({ workspace_id: workspaceId, ...counts }, "a retention policy was applied");
}

/** Looks from time to time until the signal fires; resolves then. */
export async function keepRetention(deps: SweepDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await deps.clock.sleep(deps.config.retentionLookMs, signal).catch(() => undefined);
    if (!signal.aborted) await sweepRetention(deps, signal);
  }
}
