import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { RpcClient } from "@manyhands/kit";
import { Audience, type VaultService } from "@manyhands/protocol";

/** Tokens that name a session to one of the proxies; minted when first needed, kept until shortly before they expire. */
export interface SessionTokens {
  /** A token that works. AppError when vault-proxy refuses or does not answer. */
  get(sessionId: string): Promise<string>;
  /** Forgets a token that was refused. */
  forget(sessionId: string): void;
}

const renewBeforeMs = 60_000;
const maxTokens = 4_096;

/** Tokens from vault-proxy for one audience; concurrent calls for one session share one mint. */
export function createSessionTokens(
  vaults: RpcClient<typeof VaultService>,
  audience: Audience = Audience.MODEL,
): SessionTokens {
  const tokens = new Map<string, { token: Promise<string>; untilMs: number }>();
  const mint = (sessionId: string) => {
    const entry = { token: Promise.resolve(""), untilMs: Number.POSITIVE_INFINITY };
    entry.token = vaults.mintSessionToken({ sessionId, audiences: [audience] }).then((answer) => {
      entry.untilMs = (answer.expiresAt === undefined ? 0 : timestampMs(answer.expiresAt)) - renewBeforeMs;
      return answer.token;
    });
    entry.token.catch(() => {
      if (tokens.get(sessionId) === entry) tokens.delete(sessionId);
    });
    tokens.delete(sessionId);
    const [oldest] = tokens.keys();
    if (tokens.size >= maxTokens && oldest !== undefined) tokens.delete(oldest);
    tokens.set(sessionId, entry);
    return entry.token;
  };
  return {
    get(sessionId) {
      const entry = tokens.get(sessionId);
      return entry !== undefined && entry.untilMs > Date.now() ? entry.token : mint(sessionId);
    },
    forget: (sessionId) => tokens.delete(sessionId),
  };
}
