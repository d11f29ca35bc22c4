import { AppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { toVault } from "../map/vault.ts";
import { toServicePatch } from "../schemas/common.ts";
import { vaultCreate, vaultUpdate } from "../schemas/vault.ts";
import type { DeletedVault, Page, Vault } from "../sdk-types.ts";

type VaultDeps = Pick<Deps, "vaults">;

/** Handlers of `vaults.*`. */
export const vaultRoutes = (deps: VaultDeps) => ({
  "vaults.create": async (call: Call): Promise<Vault> => {
    const input = check(vaultCreate, call.body, "body");
    const request = {
      workspaceId: call.caller.workspaceId,
      displayName: input.display_name,
      metadata: input.metadata ?? {},
      requestId: call.identity().requestId,
    };
    return answer((await deps.vaults.createVault(request, call.rpc)).vault);
  },

  "vaults.retrieve": async (call: Call): Promise<Vault> => toVault(await readVault(deps, call, call.param("vault"))),

  "vaults.list": async (call: Call): Promise<Page<Vault>> => {
    const query = readQuery(call.query, { limit: param.limit(20), page: param.text(), include_archived: param.flag() });
    const request = {
      workspaceId: call.caller.workspaceId,
      pageSize: query.limit,
      pageToken: query.page ?? "",
      includeArchived: query.include_archived,
    };
    const page = await deps.vaults.listVaults(request, call.rpc);
    return { data: page.vaults.map(toVault), next_page: page.nextPageToken || null };
  },

  "vaults.update": async (call: Call): Promise<Vault> => {
    const input = check(vaultUpdate, call.body ?? {}, "body");
    const request = {
      workspaceId: call.caller.workspaceId,
      vaultId: call.param("vault"),
      metadata: toServicePatch(input.metadata),
      ...(input.display_name ? { displayName: input.display_name } : {}),
    };
    return answer((await deps.vaults.updateVault(request, call.rpc)).vault);
  },

  "vaults.archive": async (call: Call): Promise<Vault> => {
    const request = { workspaceId: call.caller.workspaceId, vaultId: call.param("vault") };
    return answer((await deps.vaults.archiveVault(request, call.rpc)).vault);
  },

  "vaults.delete": async (call: Call): Promise<DeletedVault> => {
    const vaultId = call.param("vault");
    await deps.vaults.deleteVault({ workspaceId: call.caller.workspaceId, vaultId }, call.rpc);
    return { id: vaultId, type: "vault_deleted" };
  },
});

/** One stored vault. */
export async function readVault(deps: VaultDeps, call: Call, vaultId: string) {
  const { vault } = await deps.vaults.getVault({ workspaceId: call.caller.workspaceId, vaultId }, call.rpc);
  if (vault === undefined) throw AppError.notFound("vault", vaultId);
  return vault;
}

function answer(vault: Parameters<typeof toVault>[0] | undefined): Vault {
  if (vault === undefined) throw AppError.internal(new Error("vault-proxy answered without a vault"));
  return toVault(vault);
}
