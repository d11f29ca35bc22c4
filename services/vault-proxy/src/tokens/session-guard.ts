/**
 * Who may use a proxy now: a valid token of a session that is not revoked.
 *
 * G1 a revocation is final, so a seen one is remembered. G2 a session seen alive is believed for `BELIEVE_MS` at most,
 * so that a revocation is effective on every replica within that time even when its watch is broken. G3 when the store
 * does not answer, nobody gets through.
 */
import type { Clock } from "@manyhands/kit";
import { type BindingStore, revoked, type SessionDocument } from "../store/binding-store.ts";
import { decodeJson } from "../store/json.ts";
import type { Kv } from "../store/kv.ts";
import type { SessionClaims, SessionTokens, TokenAudience } from "./session-tokens.ts";

/** Admits a token's bearer. */
export type SessionGuard = {
  /** The claims of a valid, live token; else UNAUTHENTICATED or PERMISSION_DENIED. */
  admit(token: string, audience: TokenAudience): Promise<SessionClaims>;
  /** Calls back once when the session is revoked while something runs for it; returns how to stop listening. */
  onRevoked(session: string, listener: () => void): () => void;
  /** This replica just revoked the session itself: effective here at once. */
  ended(session: string): void;
  /** Learns of revocations from other replicas until the signal aborts. */
  follow(sessions: Kv, signal: AbortSignal): Promise<void>;
};

/** How long a session seen alive is believed to be, in milliseconds; half of the promised second. */
export const BELIEVE_MS = 500;
const MAX_REMEMBERED = 20_000;

/** A guard over tokens and bindings. */
export function sessionGuard(
  tokens: Pick<SessionTokens, "verify">,
  bindings: Pick<BindingStore, "standing">,
  clock: Pick<Clock, "nowMs">,
): SessionGuard {
  const seen = new Map<string, { readonly revoked: boolean; readonly atMs: number }>();
  const listeners = new Map<string, Set<() => void>>();

  const remember = (session: string, isRevoked: boolean) => {
    seen.delete(session);
    seen.set(session, { revoked: isRevoked, atMs: clock.nowMs() });
    for (const oldest of seen.keys()) {
      if (seen.size <= MAX_REMEMBERED) {
        break;
      }
      seen.delete(oldest);
    }
  };
  const learnRevoked = (session: string) => {
    remember(session, true);
    for (const listener of listeners.get(session) ?? []) {
      listener();
    }
    listeners.delete(session);
  };

  return {
    async admit(token, audience) {
      const claims = await tokens.verify(token, audience);
      const known = seen.get(claims.session);
      if (!known?.revoked && !(known && clock.nowMs() - known.atMs < BELIEVE_MS)) {
        const { state } = await bindings.standing(claims.session);
        // A watch may have learned of the end while this was read; the end wins.
        if (state === "revoked") {
          learnRevoked(claims.session);
        } else if (!seen.get(claims.session)?.revoked) {
          remember(claims.session, false);
        }
      }
      if (seen.get(claims.session)?.revoked) {
        throw revoked(claims.session);
      }
      return claims;
    },
    onRevoked(session, listener) {
      const set = listeners.get(session) ?? new Set();
      listeners.set(session, set.add(listener));
      return () => {
        set.delete(listener);
        if (set.size === 0 && listeners.get(session) === set) {
          listeners.delete(session);
        }
      };
    },
    ended: learnRevoked,
    follow: (sessions, signal) =>
      sessions.watch(({ key, value }) => {
        if (value && decodeJson<SessionDocument>(value).state === "revoked") {
          learnRevoked(key);
        }
      }, signal),
  };
}
