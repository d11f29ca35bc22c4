import type { Session as StoredSession } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { sessionAgent, sessionResources } from "../map/session.ts";

/** Binds exactly what the session has now; a token left empty keeps the one that is stored. */
export async function bindAgain(
  deps: Pick<Deps, "vaults">,
  call: Call,
  session: StoredSession,
  tokenOf: (resourceId: string) => string = () => "",
): Promise<void> {
  const repositories = sessionResources(session).flatMap((each) =>
    each.type === "github_repository" ? [{ url: each.url, allowPush: true, authorizationToken: tokenOf(each.id) }] : [],
  );
  const request = {
    workspaceId: call.caller.workspaceId,
    sessionId: session.id,
    vaultIds: session.vaultIds,
    repositories,
    mcpServers: sessionAgent(session).mcp_servers.map(({ name, url }) => ({ name, url })),
  };
  await deps.vaults.bindSession(request, call.rpc);
}
