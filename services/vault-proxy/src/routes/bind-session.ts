import { Secret, type ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import { checkId, type FieldChecks, fieldChecks } from "../policy/fields.ts";
import type { UrlJudge } from "../policy/outbound-url.ts";
import { parseRepositoryUrl, repositoryKey } from "../policy/repository-url.ts";
import type { BindingStore } from "../store/binding-store.ts";

const MAX_VAULTS = 64;
const MAX_REPOSITORIES = 64;
const MAX_MCP_SERVERS = 64;
/** Visible ASCII: it becomes part of a header. */
const TOKEN = /^[\x21-\x7e]{1,4096}$/;

/** BindSession: says what a session may reach. */
export function bindSession(deps: {
  readonly bindings: BindingStore;
  readonly judgeUrl: UrlJudge;
}): ServiceImpl<typeof VaultService>["bindSession"] {
  return async (request) => {
    const { workspaceId, sessionId, vaultIds, repositories, mcpServers } = request;
    const checks = fieldChecks();
    checkId(checks, "workspace_id", workspaceId);
    checkId(checks, "session_id", sessionId, "sesn");
    checks.rule("vault_ids", vaultIds.length <= MAX_VAULTS, `must have at most ${MAX_VAULTS} entries`);
    for (const [index, id] of vaultIds.slice(0, MAX_VAULTS).entries()) {
      checkId(checks, `vault_ids[${index}]`, id, "vlt");
    }
    checks.rule(
      "repositories",
      repositories.length <= MAX_REPOSITORIES,
      `must have at most ${MAX_REPOSITORIES} entries`,
    );
    const seen = new Set<string>();
    for (const [index, { url, authorizationToken }] of repositories.slice(0, MAX_REPOSITORIES).entries()) {
      const field = `repositories[${index}]`;
      const parsed = parseRepositoryUrl(url);
      checks.rule(`${field}.url`, parsed.ok, parsed.ok ? "" : parsed.rule);
      const key = parsed.ok ? repositoryKey(parsed.value) : url;
      checks.rule(`${field}.url`, !seen.has(key), "names the same repository as an earlier entry");
      seen.add(key);
      const good = authorizationToken === "" || TOKEN.test(authorizationToken);
      checks.rule(`${field}.authorization_token`, good, "must be 1 to 4096 visible ASCII characters");
    }
    checkMcpServers(checks, deps.judgeUrl, mcpServers);
    checks.done();
    await deps.bindings.bind(sessionId, {
      workspace: workspaceId,
      vaultIds,
      repositories: repositories.map(({ url, authorizationToken, allowPush }) => ({
        url,
        allowPush,
        ...(authorizationToken === "" ? {} : { token: new Secret(authorizationToken) }),
      })),
      mcpServers: mcpServers.map(({ name, url }) => ({ name, url })),
    });
    return {};
  };
}

function checkMcpServers(
  checks: FieldChecks,
  judgeUrl: UrlJudge,
  servers: readonly { readonly name: string; readonly url: string }[],
): void {
  checks.rule("mcp_servers", servers.length <= MAX_MCP_SERVERS, `must have at most ${MAX_MCP_SERVERS} entries`);
  const names = new Set<string>();
  for (const [index, { name, url }] of servers.slice(0, MAX_MCP_SERVERS).entries()) {
    const field = `mcp_servers[${index}]`;
    checks.rule(`${field}.name`, name.length >= 1 && name.length <= 255, "must be 1 to 255 characters");
    checks.rule(`${field}.name`, !names.has(name), "is the name of an earlier entry");
    names.add(name);
    const problem = judgeUrl(url);
    checks.rule(`${field}.url`, problem === undefined, problem ?? "");
  }
}
