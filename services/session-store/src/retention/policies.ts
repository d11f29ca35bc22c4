/** The policies as they are kept: one entry per workspace, and beside it when session-store last applied it by itself. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { KvBucket, KvEntry } from "@manyhands/bus";
import { type RetentionPolicy, RetentionPolicySchema } from "@manyhands/protocol";
import type { Policy } from "./plan-retention.ts";

const prefix = "policy.";

/** The policy of a workspace; one without any limit when none was set. */
export async function readPolicy(bucket: KvBucket, workspaceId: string): Promise<RetentionPolicy> {
  const entry = await bucket.get(prefix + workspaceId);
  return entry === undefined ? create(RetentionPolicySchema) : policyOf(entry);
}

/** Replaces the policy of a workspace. */
export async function writePolicy(bucket: KvBucket, workspaceId: string, policy: RetentionPolicy): Promise<void> {
  await bucket.put(prefix + workspaceId, toBinary(RetentionPolicySchema, policy));
}

/** All policies that were set. */
export async function allPolicies(
  bucket: KvBucket,
): Promise<{ readonly workspaceId: string; readonly policy: RetentionPolicy }[]> {
  const entries = await bucket.entries(`${prefix}*`);
  return entries.map((entry) => ({ workspaceId: entry.key.slice(prefix.length), policy: policyOf(entry) }));
}

/** True for the one replica that is to apply the policy now; its turn counts as taken even if it dies. */
export async function takeTurn(
  bucket: KvBucket,
  workspaceId: string,
  everyMs: number,
  nowMs: number,
): Promise<boolean> {
  const key = `applied.${workspaceId}`;
  const last = await bucket.get(key);
  const value = new TextEncoder().encode(String(nowMs));
  if (last === undefined) return (await bucket.create(key, value)) !== undefined;
  if (nowMs - Number(new TextDecoder().decode(last.value)) < everyMs) return false;
  return (await bucket.update(key, value, last.revision)) !== undefined;
}

/** The limits as the plan takes them. */
export function limitsOf({ maxIdleSeconds, maxSessions }: RetentionPolicy): Policy {
  return {
    ...(maxIdleSeconds === 0n ? {} : { maxIdleMs: Number(maxIdleSeconds) * 1000 }),
    ...(maxSessions === 0n ? {} : { maxSessions: Number(maxSessions) }),
  };
}

function policyOf({ value }: KvEntry): RetentionPolicy {
  return fromBinary(RetentionPolicySchema, value);
}
