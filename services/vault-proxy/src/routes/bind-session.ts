import { Secret, type ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import { checkId, fieldChecks } from "../policy/fields.ts";
import { parseRepositoryUrl, repositoryKey } from "../policy/repository-url.ts";
import type { BindingStore } from "../store/binding-store.ts";

const MAX_VAULTS = 64;
const MAX_REPOSITORIES = 64;
const MAX_MCP_SERVERS = 64;
const MAX_URL = 2048;
/** Visible ASCII: it becomes part of a header. */
const TOKEN = /^[\x21-\x7e]{1,4096}$/;

/** BindSession: says what a session may reach. */
export function bindSession(deps: {
  readonly bindings: BindingStore;
}): ServiceImpl<typeof VaultService>["bindSession"] {
  return async (request) => {
    const { workspaceId, sessionId, vaultIds, repositories, mcpServerUrls } = request;
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
    const urlsFit = mcpServerUrls.every((url) => url.length <= MAX_URL && URL.canParse(url));
    checks.rule("mcp_server_urls", mcpServerUrls.length <= MAX_MCP_SERVERS && urlsFit, "must be at most 64 URLs");
    checks.done();
    await deps.bindings.bind(sessionId, {
      workspace: workspaceId,
      vaultIds,
      repositories: repositories.map(({ url, authorizationToken, allowPush }) => ({
        url,
        allowPush,
        ...(authorizationToken === "" ? {} : { token: new Secret(authorizationToken) }),
      })),
      mcpServerUrls,
    });
    return {};
  };
}
