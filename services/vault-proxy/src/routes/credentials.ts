/** The six RPCs of credentials. They share their checks, so they share a file. */
import type { ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import { mergeAuth, parseAuthJson, parseNewAuth } from "../policy/credential-auth.ts";
import {
  checkDisplayName,
  checkId,
  checkMetadata,
  FIELD_LIMITS,
  type FieldChecks,
  fieldChecks,
  mergeMetadata,
} from "../policy/fields.ts";
import { pageOf } from "../policy/page-token.ts";
import type { CredentialRef, CredentialStore } from "../store/credential-store.ts";
import { wireCredential } from "./wire.ts";

type Deps = { readonly credentials: CredentialStore; readonly clock: { nowMs(): number } };
type Impl = ServiceImpl<typeof VaultService>;

/** Handlers of CreateCredential … DeleteCredential. */
export function credentialRoutes({ credentials, clock }: Deps) {
  const createCredential: Impl["createCredential"] = async (request) => {
    const checks = fieldChecks();
    checkVault(checks, request);
    checkDisplayName(checks, request.displayName, 0);
    checkMetadata(checks, request.metadata);
    checks.rule("request_id", request.requestId.length <= FIELD_LIMITS.requestId, "must be at most 128 characters");
    const json = parseAuthJson(checks, request.authJson);
    const auth = json === undefined ? undefined : parseNewAuth(checks, json, clock.nowMs());
    checks.done();
    if (!auth) {
      throw new TypeError("an auth without violations was not parsed");
    }
    const labels = { displayName: request.displayName, metadata: mergeMetadata({}, request.metadata) };
    const { workspaceId, vaultId, requestId } = request;
    return { credential: wireCredential(await credentials.create(workspaceId, vaultId, labels, auth, requestId)) };
  };
  const getCredential: Impl["getCredential"] = async (request) => {
    return { credential: wireCredential(await credentials.get(refOf(request))) };
  };
  const listCredentials: Impl["listCredentials"] = async (request) => {
    const checks = fieldChecks();
    checkVault(checks, request);
    checks.done();
    const { workspaceId, vaultId, includeArchived } = request;
    const ids = await credentials.list(workspaceId, vaultId, includeArchived);
    const page = pageOf(ids, request, ["credentials", workspaceId, vaultId, String(includeArchived)]);
    const documents = await Promise.all(
      page.ids.map((credential) => credentials.get({ workspace: workspaceId, vault: vaultId, credential })),
    );
    return { credentials: documents.map(wireCredential), nextPageToken: page.nextPageToken };
  };
  const updateCredential: Impl["updateCredential"] = async (request) => {
    const checks = fieldChecks();
    if (request.displayName !== undefined) {
      checkDisplayName(checks, request.displayName, 0);
    }
    checkMetadata(checks, request.metadata);
    const json = request.authJson.byteLength === 0 ? undefined : parseAuthJson(checks, request.authJson);
    checks.done();
    const updated = await credentials.update(refOf(request), (current) => {
      const merging = fieldChecks();
      const metadata = mergeMetadata(current.metadata, request.metadata);
      checkMetadata(merging, metadata);
      const auth =
        json === undefined
          ? { shown: current.auth, changed: {} }
          : mergeAuth(merging, json, current.auth, clock.nowMs());
      merging.done();
      const displayName = request.displayName ?? current.displayName;
      return { displayName, metadata, auth: auth.shown, changed: auth.changed };
    });
    return { credential: wireCredential(updated) };
  };
  const archiveCredential: Impl["archiveCredential"] = async (request) => {
    return { credential: wireCredential(await credentials.archive(refOf(request))) };
  };
  const deleteCredential: Impl["deleteCredential"] = async (request) => {
    await credentials.remove(refOf(request));
    return {};
  };
  return { createCredential, getCredential, listCredentials, updateCredential, archiveCredential, deleteCredential };
}

type VaultRef = { readonly workspaceId: string; readonly vaultId: string };

function checkVault(checks: FieldChecks, request: VaultRef): void {
  checkId(checks, "workspace_id", request.workspaceId);
  checkId(checks, "vault_id", request.vaultId, "vlt");
}

function refOf(request: VaultRef & { readonly credentialId: string }): CredentialRef {
  const checks = fieldChecks();
  checkVault(checks, request);
  checkId(checks, "credential_id", request.credentialId, "vcrd");
  checks.done();
  return { workspace: request.workspaceId, vault: request.vaultId, credential: request.credentialId };
}
