/** Documents ↔ messages of the contract. Secrets have no place in any of them. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { CredentialSchema, VaultSchema } from "@manyhands/protocol";
import type { CredentialDocument, VaultDocument } from "../store/documents.ts";
import { encodeJson } from "../store/json.ts";

/** A vault as the contract has it. */
export function wireVault(vault: VaultDocument): MessageInitShape<typeof VaultSchema> {
  return {
    id: vault.id,
    workspaceId: vault.workspace,
    displayName: vault.displayName,
    metadata: { ...vault.metadata },
    ...wireTimes(vault),
  };
}

/** A credential as the contract has it. */
export function wireCredential(credential: CredentialDocument): MessageInitShape<typeof CredentialSchema> {
  return {
    id: credential.id,
    vaultId: credential.vault,
    workspaceId: credential.workspace,
    displayName: credential.displayName,
    metadata: { ...credential.metadata },
    authJson: encodeJson(credential.auth),
    needsReauth: credential.needsReauth ?? "",
    ...wireTimes(credential),
  };
}

function wireTimes(times: Pick<VaultDocument, "createdAtMs" | "updatedAtMs" | "archivedAtMs">) {
  return {
    createdAt: timestampFromMs(times.createdAtMs),
    updatedAt: timestampFromMs(times.updatedAtMs),
    ...(times.archivedAtMs === undefined ? {} : { archivedAt: timestampFromMs(times.archivedAtMs) }),
  };
}
