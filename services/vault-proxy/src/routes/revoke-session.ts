import type { ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import type { Pushes } from "../git/pushes.ts";
import type { SessionMcp } from "../mcp/session-mcp.ts";
import { checkId, fieldChecks } from "../policy/fields.ts";
import type { BindingStore } from "../store/binding-store.ts";
import type { DerivedTokenStore } from "../store/derived-token-store.ts";
import type { SessionGuard } from "../tokens/session-guard.ts";

type Deps = {
  readonly bindings: Pick<BindingStore, "revoke">;
  readonly guard: Pick<SessionGuard, "ended">;
  readonly mcp: Pick<SessionMcp, "calls">;
  readonly pushes: Pick<Pushes, "end">;
  readonly derivedTokens: Pick<DerivedTokenStore, "purge">;
  readonly clock: { nowMs(): number };
};

/** RevokeSession: ends every right of a session for good; twice is fine. */
export function revokeSession(deps: Deps): ServiceImpl<typeof VaultService>["revokeSession"] {
  return async ({ sessionId }) => {
    const checks = fieldChecks();
    checkId(checks, "session_id", sessionId, "sesn");
    checks.done();
    await deps.bindings.revoke(sessionId, deps.clock.nowMs());
    deps.guard.ended(sessionId);
    await deps.mcp.calls.end(sessionId);
    await deps.pushes.end(sessionId);
    await deps.derivedTokens.purge(sessionId);
    return {};
  };
}
