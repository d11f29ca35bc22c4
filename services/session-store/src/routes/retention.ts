import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError, type RpcContext, type ServiceImpl } from "@manyhands/kit";
import {
  type RetentionFindingSchema,
  type RetentionPolicy,
  RetentionPolicySchema,
  RetentionReason,
  type RetentionService,
} from "@manyhands/protocol";
import { type RemoveDeps, removeSession } from "../carry/remove-session.ts";
import type { Deps } from "../deps.ts";
import { type Doomed, planRetention } from "../retention/plan-retention.ts";
import { appendContext, checkWorkspace, rules } from "./request-rules.ts";

const defaultRemovals = 100;
const maxRemovals = 1000;
const waitForIndexMs = 5000;
/** Reasons for which one session is kept while the others go on being removed. */
const keeps: ReadonlySet<string> = new Set(["SESSION_FORKED", "SESSION_RUNNING", "SESSION_MOVED"]);

type RetentionDeps = RemoveDeps & Pick<Deps, "retention" | "clock" | "config">;
type Finding = MessageInitShape<typeof RetentionFindingSchema>;

/** All RPCs of RetentionService. */
export function retentionHandlers(deps: RetentionDeps): ServiceImpl<typeof RetentionService> {
  const policyOf = async (workspaceId: string): Promise<RetentionPolicy> => {
    const entry = await deps.retention.get(keyOf(workspaceId));
    return entry === undefined ? create(RetentionPolicySchema) : fromBinary(RetentionPolicySchema, entry.value);
  };
  return {
    async getRetention({ workspaceId }) {
      check(workspaceId);
      return { policy: await policyOf(workspaceId) };
    },
    async setRetention({ workspaceId, policy }) {
      check(workspaceId, policy ?? null);
      const stored = create(RetentionPolicySchema, policy);
      await deps.retention.put(keyOf(workspaceId), toBinary(RetentionPolicySchema, stored));
      return { policy: stored };
    },
    async applyRetention({ workspaceId, dryRun, maxRemovals: asked }, context) {
      check(workspaceId, undefined, asked);
      if (!(await deps.index.readOn(deps.lastStored(), waitForIndexMs))) {
        throw AppError.unavailable("UNAVAILABLE", "the list of sessions lags behind; try again");
      }
      const policy = await policyOf(workspaceId);
      const doomed = planRetention(deps.index.ofWorkspace(workspaceId), limitsOf(policy), deps.clock.nowMs());
      const now = doomed.slice(0, asked === 0 ? defaultRemovals : asked);
      const findings: Finding[] = [];
      for (const one of now) {
        context.signal.throwIfAborted();
        findings.push(finding(one, dryRun ? "" : await remove(deps, workspaceId, one, context)));
      }
      return {
        removed: findings.filter((one) => one.keptBecause === ""),
        kept: findings.filter((one) => one.keptBecause !== ""),
        left: BigInt(doomed.length - now.length),
      };
    },
  };
}

/** Empty when it went, else why it was kept. */
async function remove(deps: RetentionDeps, workspaceId: string, one: Doomed, context: RpcContext): Promise<string> {
  const { sessionId } = one;
  const bounds = appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs);
  try {
    await removeSession(deps, { workspaceId, sessionId }, bounds, (header) => {
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

function finding(one: Doomed, keptBecause: string): Finding {
  const reason = one.reason === "age" ? RetentionReason.AGE : RetentionReason.COUNT;
  return { sessionId: one.sessionId, updatedAt: timestampFromMs(one.updatedAt), reason, keptBecause };
}

function limitsOf({ maxIdleSeconds, maxSessions }: RetentionPolicy) {
  return {
    ...(maxIdleSeconds === 0n ? {} : { maxIdleMs: Number(maxIdleSeconds) * 1000 }),
    ...(maxSessions === 0n ? {} : { maxSessions: Number(maxSessions) }),
  };
}

function check(workspaceId: string, policy?: RetentionPolicy | null, removals = 0): void {
  const rule = rules();
  checkWorkspace(rule, workspaceId, false);
  rule.check(policy !== null, "policy", "is required");
  const isSmall = (value: bigint) => value <= 2n ** 40n;
  rule.check(isSmall(policy?.maxIdleSeconds ?? 0n), "policy.max_idle_seconds", "must be at most 2^40");
  rule.check(isSmall(policy?.maxSessions ?? 0n), "policy.max_sessions", "must be at most 2^40");
  rule.check(removals <= maxRemovals, "max_removals", `must be 1 to ${maxRemovals}, or 0 for ${defaultRemovals}`);
  rule.done();
}

const keyOf = (workspaceId: string) => `policy.${workspaceId}`;
