/**
 * What one memory store holds, as the fold of its versions.
 *
 * M1 A change is one version under the next number, created only where that number is free: of two changes that saw the
 *    same state one is made, the other folds on and decides again.
 * M2 The index is a fold that was saved; whoever reads it folds on from there, so that a lost write of it costs time only.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { KvBucket } from "@manyhands/bus";
import { AppError } from "@manyhands/kit";
import {
  type Memory,
  type MemoryIndex,
  MemoryIndexSchema,
  MemoryOperation,
  MemorySchema,
  type MemoryVersion,
  MemoryVersionSchema,
} from "@manyhands/protocol";
import { contended, maxSwaps } from "../catalog/versioned.ts";

/** Memories of one store, and the bytes of its index. */
export const maxMemories = 2000;
const maxIndexBytes = 400 * 1024;
/** Versions of one store. */
export const maxVersions = 100_000;

/** A store's name in the bucket. */
export interface StoreName {
  readonly workspaceId: string;
  readonly storeId: string;
}

/** A version that is to be made; its number is not known yet. */
export type Change = Omit<MemoryVersion, "$typeName" | "$unknown" | "sequence">;

/** The versions of all stores. */
export type MemoryLog = ReturnType<typeof createMemoryLog>;

/** Over the bucket; `purge` removes entries by key pattern for good. */
export function createMemoryLog(bucket: KvBucket, purge: (pattern: string) => Promise<void>) {
  const versionAt = async (name: StoreName, sequence: number): Promise<MemoryVersion | undefined> => {
    const entry = await bucket.get(versionKey(name, sequence));
    return entry && decodeVersion(entry.value);
  };

  const load = async (name: StoreName) => {
    const entry = await bucket.get(indexKey(name));
    let index = entry === undefined ? create(MemoryIndexSchema) : fromBinary(MemoryIndexSchema, entry.value);
    for (let next = await versionAt(name, Number(index.sequence) + 1); next; ) {
      index = after(index, next);
      next = await versionAt(name, Number(index.sequence) + 1);
    }
    return { index, revision: entry?.revision };
  };

  const save = async (name: StoreName, index: MemoryIndex, revision: number | undefined) => {
    const bytes = toBinary(MemoryIndexSchema, index);
    // Whoever was faster has folded at least as far, or the next one folds on.
    if (revision === undefined) await bucket.create(indexKey(name), bytes);
    else await bucket.update(indexKey(name), bytes, revision);
  };

  return {
    versionAt,
    /** Memories of now, by path, and the number of the latest version. */
    async read(name: StoreName): Promise<MemoryIndex> {
      return (await load(name)).index;
    },
    /** Makes the change that is decided on, or none. Answers the memories after it. */
    async change(name: StoreName, decide: (index: MemoryIndex) => Change | undefined): Promise<MemoryIndex> {
      for (let attempt = 0; attempt < maxSwaps; attempt += 1) {
        const { index, revision } = await load(name);
        const change = decide(index);
        if (change === undefined) return index;
        const version = create(MemoryVersionSchema, { ...change, sequence: index.sequence + 1n });
        const next = after(index, version);
        checkRoom(next);
        const key = versionKey(name, Number(version.sequence));
        if ((await bucket.create(key, toBinary(MemoryVersionSchema, version))) === undefined) continue;
        await save(name, next, revision).catch(() => undefined); // M2
        return next;
      }
      throw contended(`memory store ${name.storeId}`);
    },
    /** Replaces a version that is there. */
    async rewrite(name: StoreName, sequence: number, change: (version: MemoryVersion) => MemoryVersion | undefined) {
      for (let attempt = 0; attempt < maxSwaps; attempt += 1) {
        const entry = await bucket.get(versionKey(name, sequence));
        if (entry === undefined) return undefined;
        const before = decodeVersion(entry.value);
        const next = change(before);
        if (next === undefined) return before;
        const bytes = toBinary(MemoryVersionSchema, next);
        if ((await bucket.update(entry.key, bytes, entry.revision)) !== undefined) return next;
      }
      throw contended(`memory store ${name.storeId}`);
    },
    /** Removes everything of a store. */
    async remove({ workspaceId, storeId }: StoreName): Promise<void> {
      await purge(`version.${workspaceId}.${storeId}.*`);
      await purge(`index.${workspaceId}.${storeId}`);
    },
  };
}

/** The memories after one more version. */
function after(index: MemoryIndex, version: MemoryVersion): MemoryIndex {
  const others = index.memories.filter(({ id }) => id !== version.memoryId);
  const before = index.memories.find(({ id }) => id === version.memoryId);
  const memories = version.operation === MemoryOperation.DELETED ? others : [...others, memoryAfter(version, before)];
  memories.sort((a, b) => (a.path < b.path ? -1 : 1));
  return create(MemoryIndexSchema, { sequence: version.sequence, memories });
}

function memoryAfter(version: MemoryVersion, before: Memory | undefined): Memory {
  const { memoryId: id, path, contentSha256, contentSize, id: versionId, createdAt: updatedAt } = version;
  const createdAt = before?.createdAt ?? updatedAt;
  const times = { ...(createdAt ? { createdAt } : {}), ...(updatedAt ? { updatedAt } : {}) };
  return create(MemorySchema, { id, path, contentSha256, contentSize, versionId, ...times });
}

function checkRoom(index: MemoryIndex): void {
  const bytes = toBinary(MemoryIndexSchema, index).length;
  if (index.memories.length <= maxMemories && bytes <= maxIndexBytes && index.sequence <= BigInt(maxVersions)) return;
  const message = `the store is full: at most ${maxMemories} memories, ${maxIndexBytes} bytes of their paths and ${maxVersions} changes`;
  throw new AppError("invalid", { reason: "MEMORY_STORE_FULL", message });
}

const indexKey = ({ workspaceId, storeId }: StoreName) => `index.${workspaceId}.${storeId}`;
const versionKey = ({ workspaceId, storeId }: StoreName, sequence: number) =>
  `version.${workspaceId}.${storeId}.${sequence}`;
const decodeVersion = (bytes: Uint8Array) => fromBinary(MemoryVersionSchema, bytes);
