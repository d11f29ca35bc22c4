/** Memory stores themselves, in the bucket under `store.{workspace}.{store}`, swapped by revision. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { KvBucket } from "@manyhands/bus";
import { AppError } from "@manyhands/kit";
import { type MemoryStore, MemoryStoreSchema } from "@manyhands/protocol";
import { contended, maxSwaps } from "../catalog/versioned.ts";
import type { StoreName } from "./store-log.ts";

const maxStores = 1000;

/** Stores of all workspaces; one of another workspace is NOT_FOUND. */
export type MemoryStores = ReturnType<typeof createMemoryStores>;

/** Over the bucket. */
export function createMemoryStores(bucket: KvBucket) {
  const entryOf = async ({ workspaceId, storeId }: StoreName) => {
    const entry = await bucket.get(keyOf(workspaceId, storeId));
    if (entry === undefined) throw AppError.notFound("memory store", storeId);
    return { store: decode(entry.value), entry };
  };
  const list = async (workspaceId: string) =>
    (await bucket.entries(keyOf(workspaceId, "*"), maxStores + 1)).map(({ value }) => decode(value));
  return {
    /** Makes it; the one that is there under the id stands when it has the same name. */
    async create(store: MemoryStore): Promise<MemoryStore> {
      if ((await list(store.workspaceId)).length >= maxStores) {
        const message = `the workspace has ${maxStores} memory stores, which is the limit: delete some`;
        throw new AppError("invalid", { reason: "TOO_MANY_MEMORY_STORES", message });
      }
      if ((await bucket.create(keyOf(store.workspaceId, store.id), encode(store))) !== undefined) return store;
      const { store: there } = await entryOf({ workspaceId: store.workspaceId, storeId: store.id });
      if (there.name === store.name) return there;
      throw AppError.conflict("ID_REUSED", "request_id: was used before with another name");
    },
    get: async (name: StoreName): Promise<MemoryStore> => (await entryOf(name)).store,
    /** Newest first. */
    async list(workspaceId: string): Promise<MemoryStore[]> {
      return (await list(workspaceId)).sort((a, b) => createdMs(b) - createdMs(a) || (a.id < b.id ? 1 : -1));
    },
    /** Changes it; undefined changes nothing. */
    async update(name: StoreName, nowMs: number, change: (store: MemoryStore) => Partial<MemoryStore> | undefined) {
      for (let attempt = 0; attempt < maxSwaps; attempt += 1) {
        const { store, entry } = await entryOf(name);
        const changed = change(store);
        if (changed === undefined) return store;
        const next = create(MemoryStoreSchema, { ...store, ...changed, updatedAt: timestampFromMs(nowMs) });
        if ((await bucket.update(entry.key, encode(next), entry.revision)) !== undefined) return next;
      }
      throw contended(`memory store ${name.storeId}`);
    },
    /** Takes it out. */
    async remove(name: StoreName): Promise<void> {
      const { entry } = await entryOf(name);
      await bucket.delete(entry.key);
    },
  };
}

/** When it was made, milliseconds since 1970. */
export function createdMs({ createdAt }: Pick<MemoryStore, "createdAt">): number {
  return createdAt === undefined ? 0 : timestampMs(createdAt);
}

const keyOf = (workspaceId: string, storeId: string) => `store.${workspaceId}.${storeId}`;
const encode = (store: MemoryStore) => toBinary(MemoryStoreSchema, store);
const decode = (bytes: Uint8Array) => fromBinary(MemoryStoreSchema, bytes);
