/**
 * Credentials of a vault.
 *
 * C1 a sealed version is stored before anything points to it, and purged after nothing does. C2 a credential exists
 * when its vault's document lists it; that document alone decides limits and targets. C3 archiving takes the secret
 * away for good; a crash in between is finished by archiving again.
 */
import { createHash } from "node:crypto";
import { AppError, type Clock, newId, type Secret } from "@manyhands/kit";
import { type KeyEncryptionKey, open, type SealContext, seal } from "../crypto/envelope.ts";
import type { ParsedAuth, PublicAuth, SecretFields } from "../policy/credential-auth.ts";
import { type CredentialDocument, type Labels, type SecretDocument, storeKeys, VAULT_LIMITS } from "./documents.ts";
import { decodeJson, encodeJson } from "./json.ts";
import type { Buckets } from "./kv.ts";
import { purgeBelow } from "./purge.ts";
import { newestFirst, requestIdReused, requestMark, type VaultStore } from "./vault-store.ts";

/** Names one credential. */
export type CredentialRef = { readonly workspace: string; readonly vault: string; readonly credential: string };
/** A change of a credential, decided on what is stored. */
export type CredentialChange = (current: CredentialDocument) => Labels & {
  readonly auth: PublicAuth;
  readonly changed: SecretFields;
  /** Why its owner must authorise anew; new secrets clear an earlier reason. */
  readonly needsReauth?: string;
};

/** Credentials, write-only but for `reveal`, which only the proxies use. */
export type CredentialStore = {
  create(
    workspace: string,
    vault: string,
    labels: Labels,
    auth: ParsedAuth,
    requestId: string,
  ): Promise<CredentialDocument>;
  get(ref: CredentialRef): Promise<CredentialDocument>;
  /** Ids of a vault, newest first. */
  list(workspace: string, vault: string, includeArchived: boolean): Promise<readonly string[]>;
  update(ref: CredentialRef, change: CredentialChange): Promise<CredentialDocument>;
  archive(ref: CredentialRef): Promise<CredentialDocument>;
  /** Archives the vault and every credential in it. */
  archiveVault(workspace: string, vault: string): Promise<void>;
  remove(ref: CredentialRef): Promise<void>;
  /** The active credential for a target in one vault; undefined when there is none, or no such vault. */
  find(workspace: string, vault: string, target: string): Promise<CredentialDocument | undefined>;
  /** The current secret fields; NOT_FOUND when archived. For the proxies only, never for an answer. */
  reveal(ref: CredentialRef): Promise<SecretFields>;
  /** The same with the document they belong to: both of one version, also while the credential is being changed. */
  open(ref: CredentialRef): Promise<{ readonly document: CredentialDocument; readonly fields: SecretFields }>;
};

const ATTEMPTS = 8;

/** Credentials in buckets. */
export function credentialStore(
  buckets: Pick<Buckets, "vaults" | "secrets">,
  vaults: VaultStore,
  kek: KeyEncryptionKey,
  clock: Pick<Clock, "nowMs">,
): CredentialStore {
  const secretKey = (ref: CredentialRef, version: string) =>
    storeKeys.secret(ref.workspace, ref.vault, ref.credential, version);
  const documentKey = (ref: CredentialRef) => storeKeys.credential(ref.workspace, ref.vault, ref.credential);

  const read = async (ref: CredentialRef) => {
    const vault = await vaults.get(ref.workspace, ref.vault);
    const listed = vault.credentials.find(({ id }) => id === ref.credential);
    const entry = listed && (await buckets.vaults.get(documentKey(ref)));
    if (!entry) {
      throw AppError.notFound("credential", ref.credential);
    }
    return { document: decodeJson<CredentialDocument>(entry.value), revision: entry.revision };
  };
  const storeSecrets = async (ref: CredentialRef, version: string, fields: SecretFields) => {
    const sealed = Object.entries(fields).map(([field, secret]) => {
      return [field, seal(kek, contextOf(ref, version, field), secret)] as const;
    });
    await buckets.secrets.create(secretKey(ref, version), encodeJson({ fields: Object.fromEntries(sealed) }));
  };
  /** Undefined when that version is gone: purged by a change or an archiving in between. */
  const openSecrets = async (ref: CredentialRef, version: string): Promise<SecretFields | undefined> => {
    const entry = await buckets.secrets.get(secretKey(ref, version));
    if (!entry) {
      return undefined;
    }
    const { fields } = decodeJson<SecretDocument>(entry.value);
    const opened: [string, Secret][] = Object.entries(fields).map(([field, envelope]) => {
      return [field, open(kek, contextOf(ref, version, field), envelope)];
    });
    return Object.fromEntries(opened);
  };

  const openCurrent = async (ref: CredentialRef) => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const { document } = await read(ref);
      if (document.archivedAtMs) {
        break;
      }
      const fields = await openSecrets(ref, document.version);
      if (fields) {
        return { document, fields };
      }
    }
    throw AppError.notFound("credential", ref.credential);
  };

  const archive = async (ref: CredentialRef): Promise<CredentialDocument> => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const { document, revision } = await read(ref);
      const nowMs = clock.nowMs();
      const archived = document.archivedAtMs ? document : { ...document, archivedAtMs: nowMs, updatedAtMs: nowMs };
      if (
        document.archivedAtMs ||
        (await buckets.vaults.update(documentKey(ref), encodeJson(archived), revision)) !== undefined
      ) {
        await vaults.change(ref.workspace, ref.vault, (vault) => ({
          ...vault,
          credentials: vault.credentials.map((one) => (one.id === ref.credential ? { ...one, archived: true } : one)),
        }));
        await purgeBelow(buckets.secrets, storeKeys.secrets(ref.workspace, ref.vault, ref.credential));
        return archived;
      }
    }
    throw contention();
  };

  return {
    async create(workspace, vault, labels, auth, requestId) {
      const request = requestId === "" ? undefined : requestMark(requestId, { labels, auth: auth.shown });
      const ref = { workspace, vault, credential: newId("vcrd") };
      const version = newId("v");
      const nowMs = clock.nowMs();
      const times = { createdAtMs: nowMs, updatedAtMs: nowMs };
      const document: CredentialDocument = {
        id: ref.credential,
        vault,
        workspace,
        ...labels,
        auth: auth.shown,
        version,
        ...times,
      };
      const target = targetHash(auth.target);
      const entry = { id: ref.credential, target, archived: false, ...(request ? { request } : {}) };
      // Nothing is sealed for a vault that is not there.
      await vaults.get(workspace, vault);
      await storeSecrets(ref, version, auth.secrets);
      await buckets.vaults.create(documentKey(ref), encodeJson(document));
      let earlier: string | undefined;
      try {
        await vaults.change(workspace, vault, (current) => {
          const repeated = request && current.credentials.find((one) => one.request?.key === request.key);
          earlier = repeated?.id;
          if (repeated) {
            if (repeated.request?.digest !== request.digest) {
              throw requestIdReused();
            }
            return current;
          }
          assertRoom(current, target);
          return { ...current, updatedAtMs: nowMs, credentials: [...current.credentials, entry] };
        });
      } catch (error) {
        await discard(buckets, ref, documentKey(ref));
        throw error;
      }
      if (earlier === undefined) {
        return document;
      }
      await discard(buckets, ref, documentKey(ref));
      return (await read({ ...ref, credential: earlier })).document;
    },
    get: async (ref) => (await read(ref)).document,
    async list(workspace, vault, includeArchived) {
      const { credentials } = await vaults.get(workspace, vault);
      return newestFirst(credentials.filter((one) => includeArchived || !one.archived).map(({ id }) => id));
    },
    async update(ref, change) {
      for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
        const { document, revision } = await read(ref);
        if (document.archivedAtMs) {
          throw AppError.conflict("CREDENTIAL_ARCHIVED", `credential ${ref.credential} is archived`);
        }
        const { changed, needsReauth, ...next } = change(document);
        const reseal = Object.keys(changed).length > 0;
        const { needsReauth: earlier, ...rest } = document;
        const reason = needsReauth ?? (reseal ? undefined : earlier);
        const version = reseal ? newId("v") : document.version;
        if (reseal) {
          const current = await openSecrets(ref, document.version);
          if (!current) {
            continue;
          }
          await storeSecrets(ref, version, { ...current, ...changed });
        }
        const marks = reason === undefined ? {} : { needsReauth: reason };
        const updated = { ...rest, ...next, ...marks, version, updatedAtMs: clock.nowMs() };
        const stored = await buckets.vaults.update(documentKey(ref), encodeJson(updated), revision);
        if (reseal) {
          await buckets.secrets.purge(secretKey(ref, stored === undefined ? version : document.version));
        }
        if (stored !== undefined) {
          return updated;
        }
      }
      throw contention();
    },
    archive,
    async archiveVault(workspace, vault) {
      const nowMs = clock.nowMs();
      const { credentials } = await vaults.change(workspace, vault, (current) =>
        current.archivedAtMs ? current : { ...current, archivedAtMs: nowMs, updatedAtMs: nowMs },
      );
      for (const { id } of credentials) {
        await archive({ workspace, vault, credential: id });
      }
    },
    async remove(ref) {
      await vaults.change(ref.workspace, ref.vault, (vault) => {
        if (!vault.credentials.some((one) => one.id === ref.credential)) {
          throw AppError.notFound("credential", ref.credential);
        }
        return { ...vault, credentials: vault.credentials.filter((one) => one.id !== ref.credential) };
      });
      await discard(buckets, ref, documentKey(ref));
    },
    async find(workspace, vault, target) {
      try {
        const { credentials } = await vaults.get(workspace, vault);
        const entry = credentials.find((one) => !one.archived && one.target === targetHash(target));
        return entry && (await read({ workspace, vault, credential: entry.id })).document;
      } catch (error) {
        if (error instanceof AppError && error.kind === "notFound") return undefined;
        throw error;
      }
    },
    reveal: async (ref) => (await openCurrent(ref)).fields,
    open: openCurrent,
  };
}

/** What a vault's list keeps of a target. */
function targetHash(target: string): string {
  return createHash("sha256").update(target).digest("hex").slice(0, 32);
}

function contextOf(ref: CredentialRef, version: string, field: string): SealContext {
  return { workspace: ref.workspace, vault: ref.vault, credential: ref.credential, version, field };
}

/** C2: the vault's rules for one more active credential. */
function assertRoom(vault: Awaited<ReturnType<VaultStore["get"]>>, target: string): void {
  if (vault.archivedAtMs) {
    throw AppError.conflict("VAULT_ARCHIVED", `vault ${vault.id} is archived`);
  }
  const active = vault.credentials.filter((one) => !one.archived);
  const taken = active.find((one) => one.target === target);
  if (taken) {
    throw AppError.conflict("TARGET_TAKEN", `the vault has an active credential for the same target: ${taken.id}`, {
      credential_id: taken.id,
    });
  }
  if (active.length >= VAULT_LIMITS.active) {
    throw AppError.exhausted("TOO_MANY_CREDENTIALS", `a vault has at most ${VAULT_LIMITS.active} active credentials`);
  }
  if (vault.credentials.length >= VAULT_LIMITS.all) {
    const message = `a vault has at most ${VAULT_LIMITS.all} credentials, archived ones included; delete some`;
    throw AppError.exhausted("TOO_MANY_CREDENTIALS", message);
  }
}

async function discard(
  buckets: Pick<Buckets, "vaults" | "secrets">,
  ref: CredentialRef,
  documentKey: string,
): Promise<void> {
  await purgeBelow(buckets.secrets, storeKeys.secrets(ref.workspace, ref.vault, ref.credential));
  await buckets.vaults.purge(documentKey);
}

function contention(): AppError {
  return new AppError("conflict", {
    reason: "TOO_MUCH_CONTENTION",
    message: "others changed the same credential at the same time; try again",
    retry: "now",
  });
}
