/**
 * Vaults. The vault's document is the one place where its rules are kept, by compare-and-swap; a credential exists
 * from the moment this document lists it.
 */
import { createHash } from "node:crypto";
import { AppError, type Clock, newId } from "@manyhands/kit";
import { compareAndSwap } from "./compare-and-swap.ts";
import { type Labels, type RequestMark, storeKeys, type VaultDocument } from "./documents.ts";
import { decodeJson, encodeJson } from "./json.ts";
import type { Buckets } from "./kv.ts";
import { purgeBelow } from "./purge.ts";

/** Vaults of all workspaces; a vault of another workspace does not exist. */
export type VaultStore = {
  create(workspace: string, labels: Labels, requestId: string): Promise<VaultDocument>;
  get(workspace: string, vault: string): Promise<VaultDocument>;
  /** Ids of a workspace, newest first. */
  list(workspace: string): Promise<readonly string[]>;
  /** Decides on the current document and stores the result; NOT_FOUND when there is none. */
  change(workspace: string, vault: string, decide: (current: VaultDocument) => VaultDocument): Promise<VaultDocument>;
  /** Removes the vault with its credentials and secrets. A second call finishes what a crash interrupted. */
  remove(workspace: string, vault: string): Promise<void>;
};

/** Vaults in buckets. */
export function vaultStore(buckets: Pick<Buckets, "vaults" | "secrets">, clock: Pick<Clock, "nowMs">): VaultStore {
  const { vaults, secrets } = buckets;

  const find = async (workspace: string, vault: string) => {
    const entry = await vaults.get(storeKeys.vault(workspace, vault));
    return entry && decodeJson<VaultDocument>(entry.value);
  };
  /** The id this request's vault has: a new one, or that of the first request with the same request id. */
  const claimId = async (workspace: string, mark: RequestMark | undefined): Promise<string> => {
    const fresh = newId("vlt");
    if (!mark) {
      return fresh;
    }
    const key = storeKeys.request(workspace, mark.key);
    const claim = { id: fresh, digest: mark.digest };
    await vaults.create(key, encodeJson(claim));
    const entry = await vaults.get(key);
    const winner = entry ? decodeJson<typeof claim>(entry.value) : claim;
    if (winner.digest !== mark.digest) {
      throw requestIdReused();
    }
    return winner.id;
  };

  return {
    async create(workspace, labels, requestId) {
      const request = requestId === "" ? undefined : requestMark(requestId, labels);
      const id = await claimId(workspace, request);
      const nowMs = clock.nowMs();
      return compareAndSwap<VaultDocument>(vaults, storeKeys.vault(workspace, id), (current) => {
        return (
          current ?? {
            id,
            workspace,
            ...labels,
            createdAtMs: nowMs,
            updatedAtMs: nowMs,
            ...(request ? { request } : {}),
            credentials: [],
          }
        );
      });
    },
    async get(workspace, vault) {
      return existing(await find(workspace, vault), vault);
    },
    async list(workspace) {
      const prefix = storeKeys.vaults(workspace);
      const keys = await vaults.keys(prefix);
      return newestFirst(keys.map((key) => key.slice(prefix.length + 1)));
    },
    change: (workspace, vault, decide) =>
      compareAndSwap<VaultDocument>(vaults, storeKeys.vault(workspace, vault), (current) =>
        decide(existing(current, vault)),
      ),
    async remove(workspace, vault) {
      const document = await compareAndSwap<VaultDocument>(vaults, storeKeys.vault(workspace, vault), (current) => {
        if (!current) {
          throw AppError.notFound("vault", vault);
        }
        return current.deleting ? current : { ...current, deleting: true };
      });
      await purgeBelow(secrets, storeKeys.vaultSecrets(workspace, vault));
      await purgeBelow(vaults, storeKeys.credentials(workspace, vault));
      if (document.request) {
        await vaults.purge(storeKeys.request(workspace, document.request.key));
      }
      await vaults.purge(storeKeys.vault(workspace, vault));
    },
  };
}

/** Ids sort by the time they were made. */
export function newestFirst(ids: readonly string[]): readonly string[] {
  return ids.toSorted((a, b) => (a < b ? 1 : a > b ? -1 : 0));
}

/** What is remembered of a request id; `content` must be free of secrets. */
export function requestMark(requestId: string, content: object): RequestMark {
  const hash = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 32);
  return { key: hash(requestId), digest: hash(JSON.stringify(content)) };
}

/** The same request id came with another request. */
export function requestIdReused(): AppError {
  return AppError.conflict("REQUEST_ID_REUSED", "request_id: was used before for another request");
}

function existing(document: VaultDocument | undefined, vault: string): VaultDocument {
  if (!document || document.deleting) {
    throw AppError.notFound("vault", vault);
  }
  return document;
}
