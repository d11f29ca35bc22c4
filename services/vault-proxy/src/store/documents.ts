/** What is stored about vaults and credentials, and under which keys. None of it holds a secret in clear. */
import type { Envelope } from "../crypto/envelope.ts";
import type { PublicAuth } from "../policy/credential-auth.ts";

/** Name and metadata, which people choose. */
export type Labels = { readonly displayName: string; readonly metadata: Readonly<Record<string, string>> };

/** A credential as its vault lists it: enough to keep the vault's rules in one atomic document. */
export type CredentialEntry = {
  readonly id: string;
  /** Hash of what only one active credential of the vault may be for; short, so that the list stays short. */
  readonly target: string;
  readonly archived: boolean;
  /** Set when the client gave a request id. */
  readonly request?: RequestMark;
};

/** A client's request id, hashed, and a digest of what it asked for without secrets. */
export type RequestMark = { readonly key: string; readonly digest: string };

/** A vault and the list of its credentials. */
export type VaultDocument = Labels & {
  readonly id: string;
  readonly workspace: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly archivedAtMs?: number;
  /** Set while the vault is being removed; it does not exist for anybody then. */
  readonly deleting?: boolean;
  readonly request?: RequestMark;
  readonly credentials: readonly CredentialEntry[];
};

/** A credential without its secret. */
export type CredentialDocument = Labels & {
  readonly id: string;
  readonly vault: string;
  readonly workspace: string;
  readonly auth: PublicAuth;
  /** Which sealed version is the current one. */
  readonly version: string;
  /** Why its owner must authorise anew, in words. */
  readonly needsReauth?: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly archivedAtMs?: number;
};

/** One version of a credential's secret fields. */
export type SecretDocument = { readonly fields: Readonly<Record<string, Envelope>> };

/** Keys of the two buckets. */
export const storeKeys = {
  vaults: (workspace: string) => `vault.${workspace}`,
  vault: (workspace: string, vault: string) => `vault.${workspace}.${vault}`,
  request: (workspace: string, hash: string) => `request.${workspace}.${hash}`,
  credentials: (workspace: string, vault: string) => `credential.${workspace}.${vault}`,
  /** Tokens that APIs made from credentials for one session. */
  derived: (session: string) => `derived.${session}`,
  /** Who refreshes a credential's tokens at the moment. */
  refresh: (workspace: string, vault: string, credential: string) => `refresh.${workspace}.${vault}.${credential}`,
  credential: (workspace: string, vault: string, credential: string) =>
    `credential.${workspace}.${vault}.${credential}`,
  vaultSecrets: (workspace: string, vault: string) => `secret.${workspace}.${vault}`,
  secrets: (workspace: string, vault: string, credential: string) => `secret.${workspace}.${vault}.${credential}`,
  secret: (workspace: string, vault: string, credential: string, version: string) =>
    `secret.${workspace}.${vault}.${credential}.${version}`,
} as const;

/** Bounds of one vault. */
export const VAULT_LIMITS = {
  /** Active credentials. */
  active: 20,
  /** Credentials, archived ones included. */
  all: 1000,
} as const;
