import { type Implemented, implement } from "@manyhands/kit";
import { VaultService } from "@manyhands/protocol";
import type { Deps } from "./deps.ts";
import { bindSession } from "./routes/bind-session.ts";
import { credentialRoutes } from "./routes/credentials.ts";
import { describeEgress } from "./routes/describe-egress.ts";
import { mcpToolRoutes } from "./routes/mcp-tools.ts";
import { mintSessionToken } from "./routes/mint-session-token.ts";
import { operatorRoutes } from "./routes/operator.ts";
import { revokeSession } from "./routes/revoke-session.ts";
import { vaultRoutes } from "./routes/vaults.ts";
import { audited } from "./usage/change-audit.ts";

/** What this service serves. */
export function routes(deps: Deps): Implemented {
  const served = {
    ...vaultRoutes(deps),
    ...credentialRoutes(deps),
    bindSession: bindSession(deps),
    mintSessionToken: mintSessionToken(deps),
    revokeSession: revokeSession(deps),
    ...mcpToolRoutes(deps),
    ...operatorRoutes(deps),
    describeEgress: describeEgress(deps),
  };
  return implement(VaultService, audited(served, deps.changes, deps.clock));
}
