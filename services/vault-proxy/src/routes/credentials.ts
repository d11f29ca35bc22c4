/** The RPCs of credentials. They share their checks, so they share a file. */
import { AppError, type Clock, type ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import type { SessionMcp } from "../mcp/session-mcp.ts";
import { validateCredential as validate } from "../oauth/validate-credential.ts";
import { mergeAuth, type PublicAuth, parseAuthJson, parseNewAuth } from "../policy/credential-auth.ts";
import {
  checkDisplayName,
  checkId,
  checkMetadata,
  FIELD_LIMITS,
  type FieldChecks,
  fieldChecks,
  mergeMetadata,
} from "../policy/fields.ts";
import type { UrlJudge } from "../policy/outbound-url.ts";
import { pageOf } from "../policy/page-token.ts";
import type { CredentialRef, CredentialStore } from "../store/credential-store.ts";
import { encodeJson } from "../store/json.ts";
import { wireCredential } from "./wire.ts";

type Deps = {
  readonly credentials: CredentialStore;
  readonly clock: Clock;
  readonly judgeUrl: UrlJudge;
  readonly mcp: Pick<SessionMcp, "refresher" | "dispatcher">;
};
type Impl = ServiceImpl<typeof VaultService>;

/** Handlers of CreateCredential … DeleteCredential. */
export function credentialRoutes({ credentials, clock, judgeUrl, mcp }: Deps) {
  const createCredential: Impl["createCredential"] = async (request) => {
    const checks = fieldChecks();
    checkVault(checks, request);
    checkDisplayName(checks, request.displayName, 0);
    checkMetadata(checks, request.metadata);
    checks.rule("request_id", request.requestId.length <= FIELD_LIMITS.requestId, "must be at most 128 characters");
    const json = parseAuthJson(checks, request.authJson);
    const auth = json === undefined ? undefined : parseNewAuth(checks, json, clock.nowMs());
    checkUrls(checks, judgeUrl, auth?.shown);
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
  const validateCredential: Impl["validateCredential"] = async (request) => {
    const { refresher, dispatcher } = mcp;
    const validation = await validate({ credentials, refresher, dispatcher, clock }, refOf(request));
    if (!validation) throw AppError.invalid([{ field: "credential_id", description: "must be of type mcp_oauth" }]);
    return { validationJson: encodeJson(validation) };
  };
  return {
    validateCredential,
    createCredential,
    getCredential,
    listCredentials,
    updateCredential,
    archiveCredential,
    deleteCredential,
  };
}

/** Where this service will be sent to by what is stored; judged again when it is dialled. */
function checkUrls(checks: FieldChecks, judgeUrl: UrlJudge, auth: PublicAuth | undefined): void {
  const judge = (field: string, url: string) => {
    const problem = url === "" ? undefined : judgeUrl(url);
    checks.rule(field, problem === undefined, problem ?? "");
  };
  if (auth === undefined || auth.type === "environment_variable") return;
  judge("auth.mcp_server_url", auth.mcp_server_url);
  if (auth.type === "mcp_oauth" && auth.refresh) judge("auth.refresh.token_endpoint", auth.refresh.token_endpoint);
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
