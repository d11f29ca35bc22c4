/** Which operation is answered by what; everything that is not here answers 501. */
import type { Deps } from "./deps.ts";
import type { Handler } from "./http/call.ts";
import type { OperationName } from "./operations.ts";
import { agentRoutes } from "./routes/agents.ts";
import { createSession } from "./routes/create-session.ts";
import { credentialRoutes } from "./routes/credentials.ts";
import { environmentRoutes } from "./routes/environments.ts";
import { sessionEventRoutes } from "./routes/session-events.ts";
import { sessionResourceRoutes } from "./routes/session-resources.ts";
import { sessionRoutes } from "./routes/sessions.ts";
import { vaultRoutes } from "./routes/vaults.ts";
import { workRoutes } from "./routes/work.ts";

/** The one operation that answers with a stream and is mounted apart. */
export const streamOperation = "sessions.events.stream" satisfies OperationName;

/** Handlers by operation. */
export function handlersOf(deps: Deps): Partial<Record<OperationName, Handler>> {
  return {
    ...agentRoutes(deps),
    ...environmentRoutes(deps),
    "sessions.create": createSession(deps),
    ...sessionRoutes(deps),
    ...sessionEventRoutes(deps),
    ...sessionResourceRoutes(deps),
    ...vaultRoutes(deps),
    ...workRoutes(deps),
    ...credentialRoutes(deps),
  } satisfies Partial<Record<OperationName, Handler>>;
}
