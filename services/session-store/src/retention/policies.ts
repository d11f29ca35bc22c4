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

/** A turn at applying a policy. */
export interface Turn {
  /** It came to nothing: whoever looks next may take it. Its replica's death gives nothing back. */
  giveBack(): Promise<void>;
}

/** For the one replica that is to apply the policy now, undefined for all others and while it is not due. */
export async function takeTurn(
  bucket: KvBucket,
  workspaceId: string,
  everyMs: number,
  nowMs: number,
): Promise<Turn | undefined> {
  const key = `applied.${workspaceId}`;
  const last = await bucket.get(key);
  if (last !== undefined && nowMs - Number(new TextDecoder().decode(last.value)) < everyMs) return undefined;
  const value = new TextEncoder().encode(String(nowMs));
  const revision = await (last === undefined ? bucket.create(key, value) : bucket.update(key, value, last.revision));
  if (revision === undefined) return undefined;
  return {
    async giveBack() {
      await bucket.delete(key, revision);
    },
  };
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
