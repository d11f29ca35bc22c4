/** Which environment a session has. That never changes, so it is asked for once and kept for the sessions last used. */
import type { Session } from "@manyhands/protocol";
import { sessionEnvironment } from "./map/session.ts";

/** What of a session's environment the routes need. */
export type SessionEnvironment = { readonly id: string; readonly isSelfHosted: boolean };

/** The memory. */
export type SessionEnvironments = {
  /** The environment of a session, which `read` is asked for when it is not known. */
  of(workspaceId: string, sessionId: string, read: () => Promise<Session>): Promise<SessionEnvironment>;
};

const MAX_KEPT = 10_000;

/** An empty memory. */
export function createSessionEnvironments(): SessionEnvironments {
  const kept = new Map<string, SessionEnvironment>();
  return {
    async of(workspaceId, sessionId, read) {
      const key = `${workspaceId} ${sessionId}`;
      const known = kept.get(key) ?? environmentOf(await read());
      kept.delete(key);
      kept.set(key, known);
      const [oldest] = kept.keys();
      if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest);
      return known;
    },
  };
}

/** The environment that stands in a session. */
export function environmentOf(session: Session): SessionEnvironment {
  const { id, config } = sessionEnvironment(session);
  return { id, isSelfHosted: config.type === "self_hosted" };
}
