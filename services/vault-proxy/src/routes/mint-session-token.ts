import { durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError, type ServiceImpl } from "@manyhands/kit";
import { Audience, type VaultService } from "@manyhands/protocol";
import { checkId, fieldChecks } from "../policy/fields.ts";
import { type BindingStore, revoked } from "../store/binding-store.ts";
import type { SessionDirectory } from "../tokens/session-directory.ts";
import { type SessionTokens, TOKEN_TTL_MS, type TokenAudience } from "../tokens/session-tokens.ts";

type Deps = {
  readonly bindings: Pick<BindingStore, "standing">;
  readonly sessions: SessionDirectory;
  readonly tokens: SessionTokens;
};

const AUDIENCES: ReadonlyMap<Audience, TokenAudience> = new Map([
  [Audience.MODEL, "model"],
  [Audience.GIT, "git"],
  [Audience.MCP, "mcp"],
  [Audience.EGRESS, "egress"],
]);

/** MintSessionToken: MODEL for any session that exists, everything else only for what was bound. */
export function mintSessionToken(deps: Deps): ServiceImpl<typeof VaultService>["mintSessionToken"] {
  return async (request, context) => {
    const { sessionId } = request;
    const checks = fieldChecks();
    checkId(checks, "session_id", sessionId, "sesn");
    const wanted = [...new Set(request.audiences)].slice(0, AUDIENCES.size + 1);
    const audiences = wanted.flatMap((audience) => AUDIENCES.get(audience) ?? []);
    const known = audiences.length === wanted.length && wanted.length > 0;
    checks.rule("audiences", known, "must be one or more of MODEL, GIT, MCP, EGRESS");
    const ttlMs = request.ttl === undefined ? TOKEN_TTL_MS.default : durationMs(request.ttl);
    checks.rule("ttl", ttlMs >= TOKEN_TTL_MS.min && ttlMs <= TOKEN_TTL_MS.max, "must be 1 minute to 1 hour");
    checks.done();
    const workspace = await workspaceOf(deps, sessionId, audiences, context.signal);
    const { token, expiresAtMs } = await deps.tokens.mint({ session: sessionId, workspace, audiences }, ttlMs);
    return { token, expiresAt: timestampFromMs(expiresAtMs) };
  };
}

async function workspaceOf(
  deps: Deps,
  session: string,
  audiences: readonly TokenAudience[],
  signal: AbortSignal,
): Promise<string> {
  const standing = await deps.bindings.standing(session);
  switch (standing.state) {
    case "revoked":
      throw revoked(session);
    case "bound":
      return standing.binding.workspace;
    case "unknown": {
      if (audiences.some((audience) => audience !== "model")) {
        throw new AppError("notFound", {
          reason: "SESSION_NOT_BOUND",
          message: `nothing was bound for session ${session}, so only a token for MODEL can be had`,
          details: { resource: { type: "session", name: session } },
        });
      }
      const workspace = await deps.sessions.workspaceOf(session, signal);
      if (workspace === undefined) {
        throw AppError.notFound("session", session);
      }
      return workspace;
    }
  }
}
