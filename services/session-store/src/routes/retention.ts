import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@manyhands/kit";
import {
  type RetentionFindingSchema,
  type RetentionPolicy,
  RetentionPolicySchema,
  RetentionReason,
  type RetentionService,
} from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { type ApplyDeps, applyPolicy, type Finding } from "../retention/apply-policy.ts";
import { limitsOf, readPolicy, writePolicy } from "../retention/policies.ts";
import { appendContext, checkWorkspace, rules } from "./request-rules.ts";

const defaultRemovals = 100;
const maxRemovals = 1000;
const shortestPeriod = 60n;
const longestPeriod = 2n ** 31n;

type RetentionDeps = ApplyDeps & Pick<Deps, "retention" | "config">;

/** All RPCs of RetentionService. */
export function retentionHandlers(deps: RetentionDeps): ServiceImpl<typeof RetentionService> {
  return {
    async getRetention({ workspaceId }) {
      check(workspaceId);
      return { policy: await readPolicy(deps.retention, workspaceId) };
    },
    async setRetention({ workspaceId, policy }) {
      check(workspaceId, policy ?? null);
      const stored = create(RetentionPolicySchema, policy);
      await writePolicy(deps.retention, workspaceId, stored);
      return { policy: stored };
    },
    async applyRetention({ workspaceId, dryRun, maxRemovals: asked }, context) {
      check(workspaceId, undefined, asked);
      const policy = await readPolicy(deps.retention, workspaceId);
      const { findings, left } = await applyPolicy(deps, workspaceId, limitsOf(policy), {
        dryRun,
        maxRemovals: asked === 0 ? defaultRemovals : asked,
        bounds() {
          context.signal.throwIfAborted();
          return appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs);
        },
      });
      return {
        removed: findings.filter((one) => one.keptBecause === "").map(toWire),
        kept: findings.filter((one) => one.keptBecause !== "").map(toWire),
        left: BigInt(left),
      };
    },
  };
}

function toWire({
  sessionId,
  updatedAt,
  reason,
  keptBecause,
}: Finding): MessageInitShape<typeof RetentionFindingSchema> {
  const why = reason === "age" ? RetentionReason.AGE : RetentionReason.COUNT;
  return { sessionId, updatedAt: timestampFromMs(updatedAt), reason: why, keptBecause };
}

function check(workspaceId: string, policy?: RetentionPolicy | null, removals = 0): void {
  const rule = rules();
  checkWorkspace(rule, workspaceId, false);
  rule.check(policy !== null, "policy", "is required");
  const isSmall = (value: bigint) => value <= 2n ** 40n;
  rule.check(isSmall(policy?.maxIdleSeconds ?? 0n), "policy.max_idle_seconds", "must be at most 2^40");
  rule.check(isSmall(policy?.maxSessions ?? 0n), "policy.max_sessions", "must be at most 2^40");
  const period = policy?.applyEverySeconds ?? 0n;
  const isPeriod = period === 0n || (period >= shortestPeriod && period <= longestPeriod);
  rule.check(isPeriod, "policy.apply_every_seconds", `must be 0, or ${shortestPeriod} to 2^31`);
  rule.check(removals <= maxRemovals, "max_removals", `must be 1 to ${maxRemovals}, or 0 for ${defaultRemovals}`);
  rule.done();
}
