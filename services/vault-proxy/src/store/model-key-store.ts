/**
 * Keys of the model API per workspace: a short list, tried in its order. Values are sealed like any credential's.
 *
 * M1 a sealed value is stored before the list names it, and purged after it does not. M2 lists are believed for
 * `BELIEVE_MS`, so a removed key is used no longer than that.
 */
import { AppError, type Clock, newId, type Secret } from "@manyhands/kit";
import { type KeyEncryptionKey, open, seal } from "../crypto/envelope.ts";
import { compareAndSwap } from "./compare-and-swap.ts";
import { type SecretDocument, storeKeys } from "./documents.ts";
import { decodeJson, encodeJson } from "./json.ts";
import type { Buckets } from "./kv.ts";

/** A key without its value. */
export type ModelKeyEntry = { readonly id: string; readonly displayName: string; readonly createdAtMs: number };

/** A key that can be used. */
export type ModelKey = { readonly id: string; readonly value: Secret };

/** Keys of all workspaces. */
export type ModelKeyStore = {
  create(workspace: string, displayName: string, value: Secret): Promise<ModelKeyEntry>;
  list(workspace: string): Promise<readonly ModelKeyEntry[]>;
  remove(workspace: string, id: string): Promise<void>;
  /** The workspace's keys with their values; for the model proxy only. */
  reveal(workspace: string): Promise<readonly ModelKey[]>;
};

type Document = { readonly keys: readonly ModelKeyEntry[] };

const MAX_KEYS = 16;
const BELIEVE_MS = 1000;
const MAX_REMEMBERED = 1000;
/** Stands where a vault's id stands in keys and contexts; no vault has it. */
const VAULT = "modelkeys";
const VERSION = "1";
const FIELD = "key";

/** Keys in buckets. */
export function modelKeyStore(
  buckets: Pick<Buckets, "vaults" | "secrets">,
  kek: KeyEncryptionKey,
  clock: Pick<Clock, "nowMs">,
): ModelKeyStore {
  const listKey = (workspace: string) => `modelkeys.${workspace}`;
  const secretKey = (workspace: string, id: string) => storeKeys.secret(workspace, VAULT, id, VERSION);
  const contextOf = (workspace: string, id: string) => {
    return { workspace, vault: VAULT, credential: id, version: VERSION, field: FIELD };
  };
  const known = new Map<string, { readonly keys: Promise<readonly ModelKey[]>; readonly atMs: number }>();

  const list = async (workspace: string): Promise<readonly ModelKeyEntry[]> => {
    const entry = await buckets.vaults.get(listKey(workspace));
    return entry ? decodeJson<Document>(entry.value).keys : [];
  };
  const load = async (workspace: string): Promise<readonly ModelKey[]> => {
    const keys: ModelKey[] = [];
    for (const { id } of await list(workspace)) {
      const entry = await buckets.secrets.get(secretKey(workspace, id));
      const envelope = entry && decodeJson<SecretDocument>(entry.value).fields[FIELD];
      if (envelope) keys.push({ id, value: open(kek, contextOf(workspace, id), envelope) });
    }
    return keys;
  };

  return {
    async create(workspace, displayName, value) {
      const created = { id: newId("mkey"), displayName, createdAtMs: clock.nowMs() };
      const fields = { [FIELD]: seal(kek, contextOf(workspace, created.id), value) };
      await buckets.secrets.create(secretKey(workspace, created.id), encodeJson({ fields }));
      try {
        await compareAndSwap<Document>(buckets.vaults, listKey(workspace), (current) => {
          const keys = current?.keys ?? [];
          if (keys.length < MAX_KEYS) return { keys: [...keys, created] };
          throw AppError.exhausted("TOO_MANY_MODEL_KEYS", `a workspace has at most ${MAX_KEYS} model keys`);
        });
      } catch (error) {
        await buckets.secrets.purge(secretKey(workspace, created.id));
        throw error;
      }
      known.delete(workspace);
      return created;
    },
    list,
    async remove(workspace, id) {
      await compareAndSwap<Document>(buckets.vaults, listKey(workspace), (current) => {
        const keys = current?.keys ?? [];
        if (!keys.some((one) => one.id === id)) throw AppError.notFound("model key", id);
        return { keys: keys.filter((one) => one.id !== id) };
      });
      await buckets.secrets.purge(secretKey(workspace, id));
      known.delete(workspace);
    },
    reveal(workspace) {
      const before = known.get(workspace);
      if (before && clock.nowMs() - before.atMs < BELIEVE_MS) return before.keys;
      const keys = load(workspace);
      keys.catch(() => known.delete(workspace));
      known.delete(workspace);
      known.set(workspace, { keys, atMs: clock.nowMs() });
      const [oldest] = known.keys();
      if (known.size > MAX_REMEMBERED && oldest !== undefined) known.delete(oldest);
      return keys;
    },
  };
}
