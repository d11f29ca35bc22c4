/** Which sessions a policy does not keep. Pure. */
import type { SessionHeader } from "@manyhands/core";

/** What is kept; a limit that is absent does not hold. */
export interface Policy {
  /** Milliseconds for which a log may stand still. */
  readonly maxIdleMs?: number;
  readonly maxSessions?: number;
}

/** A session that goes. */
export interface Doomed {
  readonly sessionId: string;
  readonly updatedAt: number;
  readonly reason: "age" | "count";
}

/** True when a session may ever be removed by a policy: never one that has work. */
export function isRemovable(header: SessionHeader): boolean {
  return header.status === "idle" || header.status === "terminated";
}

/** Those that go, longest unmoved first. Sessions at work count towards the number and are never among them. */
export function planRetention(
  sessions: readonly { readonly sessionId: string; readonly header: SessionHeader }[],
  policy: Policy,
  nowMs: number,
): Doomed[] {
  const { maxIdleMs = Number.POSITIVE_INFINITY, maxSessions = Number.POSITIVE_INFINITY } = policy;
  const removable = sessions
    .filter(({ header }) => isRemovable(header))
    .map(({ sessionId, header }) => ({ sessionId, updatedAt: header.updated_at }))
    .sort((a, b) => a.updatedAt - b.updatedAt || (a.sessionId < b.sessionId ? -1 : 1));
  const surplus = sessions.length - maxSessions;
  return removable.flatMap<Doomed>((one, index) => {
    if (nowMs - one.updatedAt > maxIdleMs) return [{ ...one, reason: "age" }];
    return index < surplus ? [{ ...one, reason: "count" }] : [];
  });
}
