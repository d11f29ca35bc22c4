import type { State } from "@manyhands/core";
import type { Clock } from "@manyhands/kit";
import type { StoredEvent } from "./session-log.ts";
import type { SessionTail } from "./session-tail.ts";

/** A session's log and its fold, as of some head. */
export interface WarmSession {
  readonly events: StoredEvent[];
  readonly state: State;
  /** Position after the newest checkpoint, or after the newest try to make one. */
  readonly savedTo: number;
  /** Still listening. */
  readonly tail: SessionTail;
}

/** Sessions kept for a while after a turn, so that the next one need not read their logs again. Never the truth. */
export interface WarmSessions {
  /** Takes it out: one runner owns it from then on. */
  take(sessionId: string): WarmSession | undefined;
  /** Looks at it. */
  peek(sessionId: string): WarmSession | undefined;
  /** False when it is not kept. */
  keep(sessionId: string, session: WarmSession): boolean;
  /** Forgets one. */
  drop(sessionId: string): void;
  /** Forgets all and stops the clock. */
  close(): void;
}

const maxSessions = 256;
const maxEventsPerSession = 4_000;

/** A cache bounded in number, size and time. What leaves it unused stops listening. */
export function createWarmSessions(keepMs: number, clock: Pick<Clock, "nowMs">): WarmSessions {
  const kept = new Map<string, { session: WarmSession; untilMs: number }>();
  const drop = (sessionId: string) => {
    kept.get(sessionId)?.session.tail.close();
    kept.delete(sessionId);
  };
  const forgetOld = () => {
    for (const [id, entry] of kept) if (entry.untilMs <= clock.nowMs()) drop(id);
  };
  const timer = setInterval(forgetOld, Math.max(1_000, keepMs));
  timer.unref();
  return {
    take(sessionId) {
      const entry = kept.get(sessionId);
      kept.delete(sessionId);
      return entry?.session;
    },
    peek: (sessionId) => kept.get(sessionId)?.session,
    keep(sessionId, session) {
      drop(sessionId);
      if (keepMs === 0 || session.events.length > maxEventsPerSession) {
        session.tail.close();
        return false;
      }
      const [oldest] = kept.keys();
      if (kept.size >= maxSessions && oldest !== undefined) drop(oldest);
      kept.set(sessionId, { session, untilMs: clock.nowMs() + keepMs });
      return true;
    },
    drop,
    close() {
      clearInterval(timer);
      for (const id of [...kept.keys()]) drop(id);
    },
  };
}
