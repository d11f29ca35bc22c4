import { AppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { toJsonBytes } from "../map/json-bytes.ts";
import { toCredential } from "../map/vault.ts";
import { toServicePatch } from "../schemas/common.ts";
import { credentialCreate, credentialUpdate } from "../schemas/vault.ts";
import type { Credential, CredentialValidation, DeletedCredential, Page } from "../sdk-types.ts";

/** Two handshakes and a refresh, each with its own limit. */
const VALIDATE_MS = 70_000;

/** Handlers of `vaults.credentials.*`. */
export const credentialRoutes = (deps: Pick<Deps, "vaults">) => ({
  "vaults.credentials.create": async (call: Call): Promise<Credential> => {
    const input = check(credentialCreate, call.body, "body");
    const request = {
      workspaceId: call.caller.workspaceId,
      vaultId: call.param("vault"),
      displayName: input.display_name ?? "",
      metadata: input.metadata ?? {},
      authJson: toJsonBytes(input.auth),
      requestId: call.identity().requestId,
    };
    return answer((await deps.vaults.createCredential(request, call.rpc)).credential);
  },

  "vaults.credentials.retrieve": async (call: Call): Promise<Credential> =>
    answer((await deps.vaults.getCredential(named(call), call.rpc)).credential),

  "vaults.credentials.list": async (call: Call): Promise<Page<Credential>> => {
    const query = readQuery(call.query, { limit: param.limit(20), page: param.text(), include_archived: param.flag() });
    const request = {
      workspaceId: call.caller.workspaceId,
      vaultId: call.param("vault"),
      pageSize: query.limit,
      pageToken: query.page ?? "",
      includeArchived: query.include_archived,
    };
    const page = await deps.vaults.listCredentials(request, call.rpc);
    return { data: page.credentials.map(toCredential), next_page: page.nextPageToken || null };
  },

  "vaults.credentials.update": async (call: Call): Promise<Credential> => {
    const input = check(credentialUpdate, call.body ?? {}, "body");
    const request = {
      ...named(call),
      metadata: toServicePatch(input.metadata),
      ...(input.display_name === undefined ? {} : { displayName: input.display_name ?? "" }),
      ...(input.auth === undefined ? {} : { authJson: toJsonBytes(input.auth) }),
    };
    return answer((await deps.vaults.updateCredential(request, call.rpc)).credential);
  },

  "vaults.credentials.archive": async (call: Call): Promise<Credential> =>
    answer((await deps.vaults.archiveCredential(named(call), call.rpc)).credential),

  "vaults.credentials.mcpOAuthValidate": async (call: Call): Promise<CredentialValidation> => {
    const { validationJson } = await deps.vaults.validateCredential(named(call), {
      ...call.rpc,
      deadlineMs: VALIDATE_MS,
    });
    if (validationJson.length === 0) throw AppError.internal(new Error("vault-proxy answered without a validation"));
    return JSON.parse(new TextDecoder().decode(validationJson)) as CredentialValidation; // made by vault-proxy in this shape
  },

  "vaults.credentials.delete": async (call: Call): Promise<DeletedCredential> => {
    const request = named(call);
    await deps.vaults.deleteCredential(request, call.rpc);
    return { id: request.credentialId, type: "vault_credential_deleted" };
  },
});

function named(call: Call) {
  return {
    workspaceId: call.caller.workspaceId,
    vaultId: call.param("vault"),
    credentialId: call.param("credential"),
  };
}

function answer(credential: Parameters<typeof toCredential>[0] | undefined): Credential {
  if (credential === undefined) throw AppError.internal(new Error("vault-proxy answered without a credential"));
  return toCredential(credential);
}
