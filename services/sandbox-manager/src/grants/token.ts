/**
 * Tokens of grants: `mhg1.<hand>.<grant>.<HMAC-SHA256>`, signed over hand, grant and the session that received it.
 *
 * The record is the authority on what a grant allows and whether it lives, because every call has to ask it about
 * revocation anyway; so a token carries no rights that could go stale. The signature makes ids worthless by themselves:
 * who reads a grant's id in a log cannot use it, guesses are refused without a look at any record, and a token that
 * leaks to another session is none there. The key is one of the platform, made once and kept with the records: whoever
 * can write those needs no token, and a signature without a living record is worth nothing.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

const VERSION = "mhg1";

/** The token of a grant. */
export function signToken(
  key: Uint8Array,
  { handId, grantId, sessionId }: { readonly handId: string; readonly grantId: string; readonly sessionId: string },
): string {
  const named = `${VERSION}.${handId}.${grantId}`;
  return `${named}.${createHmac("sha256", key).update(`${named}.${sessionId}`).digest("base64url")}`;
}

/** Hand and grant of a token that this platform signed for this session; undefined for any other text. */
export function verifyToken(
  key: Uint8Array,
  token: string,
  sessionId: string,
): { readonly handId: string; readonly grantId: string } | undefined {
  const [version, handId, grantId, signature, ...more] = token.split(".");
  if (version !== VERSION || !handId || !grantId || !signature || more.length > 0) return undefined;
  const right = Buffer.from(signToken(key, { handId, grantId, sessionId }));
  const given = Buffer.from(token);
  return right.length === given.length && timingSafeEqual(right, given) ? { handId, grantId } : undefined;
}
