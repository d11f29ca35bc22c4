import type { Credential as StoredCredential, Vault as StoredVault } from "@manyhands/protocol";
import type { Credential, Vault } from "../sdk-types.ts";
import { fromJsonBytes, rfc3339, rfc3339OrNull } from "./json-bytes.ts";

/** A vault as the public API shows it. */
export function toVault(stored: StoredVault): Vault {
  return {
    id: stored.id,
    type: "vault",
    display_name: stored.displayName,
    metadata: { ...stored.metadata },
    created_at: rfc3339(stored.createdAt),
    updated_at: rfc3339(stored.updatedAt),
    archived_at: rfc3339OrNull(stored.archivedAt),
  };
}

/** A credential as the public API shows it; vault-proxy gives no secret, so none can be shown. */
export function toCredential(stored: StoredCredential): Credential {
  return {
    id: stored.id,
    type: "vault_credential",
    vault_id: stored.vaultId,
    display_name: stored.displayName === "" ? null : stored.displayName,
    metadata: { ...stored.metadata },
    auth: fromJsonBytes<Credential["auth"]>(stored.authJson, { type: "static_bearer", mcp_server_url: "" }),
    created_at: rfc3339(stored.createdAt),
    updated_at: rfc3339(stored.updatedAt),
    archived_at: rfc3339OrNull(stored.archivedAt),
  };
}
