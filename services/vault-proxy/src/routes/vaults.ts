/** The six RPCs of vaults: parse, one store call, reply. They share their checks, so they share a file. */
import type { ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import {
  checkDisplayName,
  checkId,
  checkMetadata,
  FIELD_LIMITS,
  fieldChecks,
  mergeMetadata,
} from "../policy/fields.ts";
import { pageOf } from "../policy/page-token.ts";
import type { CredentialStore } from "../store/credential-store.ts";
import type { VaultDocument } from "../store/documents.ts";
import type { VaultStore } from "../store/vault-store.ts";
import { wireVault } from "./wire.ts";

type Deps = {
  readonly vaults: VaultStore;
  readonly credentials: Pick<CredentialStore, "archiveVault">;
  readonly clock: { nowMs(): number };
};
type Impl = ServiceImpl<typeof VaultService>;

/** Handlers of CreateVault … DeleteVault. */
export function vaultRoutes({ vaults, credentials, clock }: Deps) {
  const createVault: Impl["createVault"] = async (request) => {
    const checks = fieldChecks();
    checkId(checks, "workspace_id", request.workspaceId);
    checkDisplayName(checks, request.displayName, 1);
    checkMetadata(checks, request.metadata);
    checks.rule("request_id", request.requestId.length <= FIELD_LIMITS.requestId, "must be at most 128 characters");
    checks.done();
    const labels = { displayName: request.displayName, metadata: mergeMetadata({}, request.metadata) };
    return { vault: wireVault(await vaults.create(request.workspaceId, labels, request.requestId)) };
  };
  const getVault: Impl["getVault"] = async (request) => {
    checkVaultRef(request);
    return { vault: wireVault(await vaults.get(request.workspaceId, request.vaultId)) };
  };
  const listVaults: Impl["listVaults"] = async (request) => {
    const checks = fieldChecks();
    checkId(checks, "workspace_id", request.workspaceId);
    checks.done();
    const { workspaceId, includeArchived } = request;
    const found = await presentVaults(vaults, workspaceId, includeArchived);
    const page = pageOf([...found.keys()], request, ["vaults", workspaceId, String(includeArchived)]);
    const documents = page.ids.flatMap((id) => found.get(id) ?? []);
    return { vaults: documents.map(wireVault), nextPageToken: page.nextPageToken };
  };
  const updateVault: Impl["updateVault"] = async (request) => {
    const checks = fieldChecks();
    checkId(checks, "workspace_id", request.workspaceId);
    checkId(checks, "vault_id", request.vaultId, "vlt");
    if (request.displayName !== undefined) {
      checkDisplayName(checks, request.displayName, 1);
    }
    checkMetadata(checks, request.metadata);
    checks.done();
    const vault = await vaults.change(request.workspaceId, request.vaultId, (current) => {
      const metadata = mergeMetadata(current.metadata, request.metadata);
      const merged = fieldChecks();
      checkMetadata(merged, metadata);
      merged.done();
      const displayName = request.displayName ?? current.displayName;
      return { ...current, displayName, metadata, updatedAtMs: clock.nowMs() };
    });
    return { vault: wireVault(vault) };
  };
  const archiveVault: Impl["archiveVault"] = async (request) => {
    checkVaultRef(request);
    await credentials.archiveVault(request.workspaceId, request.vaultId);
    return { vault: wireVault(await vaults.get(request.workspaceId, request.vaultId)) };
  };
  const deleteVault: Impl["deleteVault"] = async (request) => {
    checkVaultRef(request);
    await vaults.remove(request.workspaceId, request.vaultId);
    return {};
  };
  return { createVault, getVault, listVaults, updateVault, archiveVault, deleteVault };
}

/** Vaults of a workspace, newest first, in batches so that a big workspace does not become one burst of reads. */
async function presentVaults(
  vaults: VaultStore,
  workspace: string,
  includeArchived: boolean,
): Promise<ReadonlyMap<string, VaultDocument>> {
  const ids = await vaults.list(workspace);
  const found = new Map<string, VaultDocument>();
  const batch = 50;
  for (let start = 0; start < ids.length; start += batch) {
    const some = ids.slice(start, start + batch);
    for (const result of await Promise.allSettled(some.map((id) => vaults.get(workspace, id)))) {
      // One that was removed since it was listed is no longer there; anything else must not shorten the list.
      if (result.status === "rejected" && result.reason?.kind !== "notFound") {
        throw result.reason;
      }
      if (result.status === "fulfilled" && (includeArchived || result.value.archivedAtMs === undefined)) {
        found.set(result.value.id, result.value);
      }
    }
  }
  return found;
}

function checkVaultRef(request: { readonly workspaceId: string; readonly vaultId: string }): void {
  const checks = fieldChecks();
  checkId(checks, "workspace_id", request.workspaceId);
  checkId(checks, "vault_id", request.vaultId, "vlt");
  checks.done();
}
