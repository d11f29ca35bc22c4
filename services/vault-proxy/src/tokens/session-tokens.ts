/**
 * Session tokens: signed, short-lived, naming one session and what its proxies may do for it. They are no credential
 * of any provider and mean nothing outside this service.
 */
import { AppError, type Clock, newId, type Secret } from "@manyhands/kit";
import { errors, jwtVerify, SignJWT } from "jose";

/** What a token may be used for. */
export type TokenAudience = "model" | "git" | "mcp" | "egress";

/** What a valid token says. */
export type SessionClaims = {
  readonly session: string;
  readonly workspace: string;
  readonly audiences: readonly TokenAudience[];
  readonly tokenId: string;
  readonly expiresAtMs: number;
};

/** The key all replicas share. */
export type SigningKey = { readonly id: string; readonly secret: Secret };

/** Makes and checks tokens. Knows nothing of revocation: see SessionGuard. */
export type SessionTokens = {
  mint(claims: Omit<SessionClaims, "tokenId" | "expiresAtMs">, ttlMs: number): Promise<MintedToken>;
  /** The claims, or UNAUTHENTICATED (not ours, altered, expired) or PERMISSION_DENIED (not for this use). */
  verify(token: string, audience: TokenAudience): Promise<SessionClaims>;
};

/** A new token and when it ends. */
export type MintedToken = { readonly token: string; readonly expiresAtMs: number };

/** Bounds of a token's life, in milliseconds. */
export const TOKEN_TTL_MS = { min: 60_000, max: 3_600_000, default: 900_000 } as const;

const ISSUER = "manyhands";
const TYPE = "mh-session+jwt";
const ALGORITHM = "HS256";
const MAX_SEEN = 10_000;
const MAX_TOKEN_LENGTH = 4096;
const AUDIENCES: readonly string[] = ["model", "git", "mcp", "egress"] satisfies readonly TokenAudience[];

/** Tokens signed with one key. */
export function sessionTokens(key: SigningKey, clock: Pick<Clock, "nowMs">): SessionTokens {
  const bytes = new Uint8Array(Buffer.from(key.secret.reveal(), "base64"));
  /** Tokens whose signature was right, with what they say, least recently used first: an altered one is another text. */
  const seen = new Map<string, SessionClaims>();
  const remember = (token: string, claims: SessionClaims) => {
    seen.delete(token);
    const [oldest] = seen.keys();
    if (seen.size >= MAX_SEEN && oldest !== undefined) seen.delete(oldest);
    seen.set(token, claims);
  };
  const check = async (token: string): Promise<SessionClaims> => {
    if (token === "" || token.length > MAX_TOKEN_LENGTH) {
      throw refused();
    }
    const { payload } = await jwtVerify(token, bytes, {
      algorithms: [ALGORITHM],
      typ: TYPE,
      issuer: ISSUER,
      requiredClaims: ["sub", "aud", "exp", "jti", "ws"],
      currentDate: new Date(clock.nowMs()),
    }).catch((error: unknown) => {
      // The cause is left out: jose's claim errors carry the payload.
      throw refused(error instanceof errors.JWTExpired ? "the session token has expired; mint another" : undefined);
    });
    const { sub, ws, jti, exp } = payload;
    const audiences = [payload.aud ?? []].flat().filter(isAudience);
    if (typeof sub !== "string" || typeof ws !== "string" || typeof jti !== "string" || typeof exp !== "number") {
      throw refused();
    }
    return { session: sub, workspace: ws, audiences, tokenId: jti, expiresAtMs: exp * 1000 };
  };
  return {
    async mint({ session, workspace, audiences }, ttlMs) {
      const nowS = Math.floor(clock.nowMs() / 1000);
      const expiresS = nowS + Math.floor(Math.min(ttlMs, TOKEN_TTL_MS.max) / 1000);
      const token = await new SignJWT({ ws: workspace })
        .setProtectedHeader({ alg: ALGORITHM, typ: TYPE, kid: key.id })
        .setIssuer(ISSUER)
        .setSubject(session)
        .setAudience([...audiences])
        .setIssuedAt(nowS)
        .setExpirationTime(expiresS)
        .setJti(newId("mst"))
        .sign(bytes);
      return { token, expiresAtMs: expiresS * 1000 };
    },
    async verify(token, audience) {
      const known = seen.get(token);
      const isFresh = known !== undefined && known.expiresAtMs > clock.nowMs();
      const claims = isFresh ? known : await check(token);
      remember(token, claims);
      if (claims.audiences.includes(audience)) return claims;
      throw AppError.denied("TOKEN_WRONG_AUDIENCE", `the session token is not for ${audience}`);
    },
  };
}

function isAudience(text: string): text is TokenAudience {
  return AUDIENCES.includes(text);
}

function refused(message = "the session token is not valid"): AppError {
  return AppError.unauthenticated(message);
}
