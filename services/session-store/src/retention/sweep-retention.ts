/** Applies the policies that say how often they are to be applied. */
import { type Logger, toAppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import { type ApplyDeps, applyPolicy } from "./apply-policy.ts";
import { allPolicies, limitsOf, takeTurn } from "./policies.ts";

/** Removals of one workspace in one round; what is left waits for the next one. */
const maxRemovals = 10_000;

/** What it needs. */
export type SweepDeps = ApplyDeps & Pick<Deps, "retention" | "config"> & { readonly logger: Logger };

/** One round; answers the workspaces whose policy was applied. Never throws: what failed waits until it is due again. */
export async function sweepRetention(deps: SweepDeps, signal: AbortSignal): Promise<string[]> {
  const { retention, clock, config, logger } = deps;
  const done: string[] = [];
  try {
    for (const { workspaceId, policy } of await allPolicies(retention)) {
      const everyMs = Number(policy.applyEverySeconds) * 1000;
      if (everyMs === 0 || !(await takeTurn(retention, workspaceId, everyMs, clock.nowMs()))) continue;
      const { findings, left } = await applyPolicy(deps, workspaceId, limitsOf(policy), {
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
      done.push(workspaceId);
    }
  } catch (error) {
    if (!signal.aborted) logger.warn({ err: toAppError(error) }, "a retention policy could not be applied");
  }
  return done;
}

/** Looks from time to time until the signal fires; resolves then. */
export async function keepRetention(deps: SweepDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await deps.clock.sleep(deps.config.retentionLookMs, signal).catch(() => undefined);
    if (!signal.aborted) await sweepRetention(deps, signal);
  }
}
