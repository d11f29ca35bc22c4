/** Which operation is answered by what; everything that is not here answers 501. */
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";
import type { Handler, StreamHandler } from "./http/call.ts";
import type { OperationName } from "./operations.ts";
import { agentRoutes } from "./routes/agents.ts";
import { createSession } from "./routes/create-session.ts";
import { credentialRoutes } from "./routes/credentials.ts";
import { environmentRoutes } from "./routes/environments.ts";
import { eventStream } from "./routes/event-stream.ts";
import { downloadFile, fileRoutes } from "./routes/files.ts";
import { memoryRoutes } from "./routes/memories.ts";
import { sessionEventRoutes } from "./routes/session-events.ts";
import { sessionResourceRoutes } from "./routes/session-resources.ts";
import { sessionRoutes } from "./routes/sessions.ts";
import { memoryStoreRoutes } from "./routes/stores-of-memories.ts";
import { vaultRoutes } from "./routes/vaults.ts";
import { workRoutes } from "./routes/work.ts";

/** Operations that answer with something else than JSON, which they write themselves. */
export function streamHandlersOf(
  config: Pick<Config, "limits">,
  deps: Deps,
  stopping: AbortSignal,
): Partial<Record<OperationName, StreamHandler>> {
  return {
    "sessions.events.stream": eventStream(deps, config.limits, stopping),
    "files.download": downloadFile(deps),
  };
}

/** Handlers by operation. */
export function handlersOf(deps: Deps): Partial<Record<OperationName, Handler>> {
  return {
    ...agentRoutes(deps),
    ...environmentRoutes(deps),
    ...fileRoutes(deps),
    ...memoryStoreRoutes(deps),
    ...memoryRoutes(deps),
    "sessions.create": createSession(deps),
    ...sessionRoutes(deps),
    ...sessionEventRoutes(deps),
    ...sessionResourceRoutes(deps),
    ...vaultRoutes(deps),
    ...workRoutes(deps),
    ...credentialRoutes(deps),
  } satisfies Partial<Record<OperationName, Handler>>;
}
