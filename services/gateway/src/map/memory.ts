/** Memory stores as the public API shows them. */
import {
  type MemoryActor,
  MemoryOperation,
  type MemoryListItem as StoredItem,
  type Memory as StoredMemory,
  type MemoryStore as StoredStore,
  type MemoryVersion as StoredVersion,
} from "@manyhands/protocol";
import type { Actor, Memory, MemoryListItem, MemoryStore, MemoryVersion } from "../sdk-types.ts";
import { rfc3339, rfc3339OrNull } from "./json-bytes.ts";

/** A store. */
export function toMemoryStore(stored: StoredStore): MemoryStore {
  return {
    id: stored.id,
    type: "memory_store",
    name: stored.name,
    description: stored.description,
    metadata: { ...stored.metadata },
    created_at: rfc3339(stored.createdAt),
    updated_at: rfc3339(stored.updatedAt),
    archived_at: rfc3339OrNull(stored.archivedAt),
  };
}

/** A memory; its content only where it was asked for. */
export function toMemory(storeId: string, stored: StoredMemory, isFull: boolean): Memory {
  return {
    id: stored.id,
    type: "memory",
    memory_store_id: storeId,
    memory_version_id: stored.versionId,
    path: stored.path,
    content: isFull ? (stored.content ?? "") : null,
    content_sha256: stored.contentSha256,
    content_size_bytes: stored.contentSize,
    created_at: rfc3339(stored.createdAt),
    updated_at: rfc3339(stored.updatedAt),
  };
}

/** A memory, or the folder of some. */
export function toListItem(storeId: string, { item }: StoredItem, isFull: boolean): MemoryListItem[] {
  if (item.case === "memory") return [toMemory(storeId, item.value, isFull)];
  return item.case === "prefix" ? [{ type: "memory_prefix", path: item.value }] : [];
}

const operationNames: Readonly<Record<number, MemoryVersion["operation"]>> = {
  [MemoryOperation.CREATED]: "created",
  [MemoryOperation.MODIFIED]: "modified",
  [MemoryOperation.DELETED]: "deleted",
};

/** Operations of the public API, as session-store numbers them. */
export const operationByName: Readonly<Record<MemoryVersion["operation"], MemoryOperation>> = {
  created: MemoryOperation.CREATED,
  modified: MemoryOperation.MODIFIED,
  deleted: MemoryOperation.DELETED,
};

/** A version; redacted ones and ends have no content. */
export function toMemoryVersion(storeId: string, stored: StoredVersion, isFull: boolean): MemoryVersion {
  const hasContent = stored.contentSha256 !== "";
  return {
    id: stored.id,
    type: "memory_version",
    memory_id: stored.memoryId,
    memory_store_id: storeId,
    operation: operationNames[Number(stored.operation)] ?? "modified",
    path: stored.path === "" ? null : stored.path,
    content: hasContent && isFull ? (stored.content ?? "") : null,
    content_sha256: hasContent ? stored.contentSha256 : null,
    content_size_bytes: hasContent ? stored.contentSize : null,
    created_at: rfc3339(stored.createdAt),
    created_by: toActor(stored.createdBy),
    redacted_at: rfc3339OrNull(stored.redactedAt),
    ...(stored.redactedAt === undefined ? {} : { redacted_by: toActor(stored.redactedBy) }),
  };
}

function toActor(actor: MemoryActor | undefined): Actor {
  if (actor !== undefined && actor.sessionId !== "") return { type: "session_actor", session_id: actor.sessionId };
  return { type: "api_actor", api_key_id: actor?.apiKeyId ?? "" };
}
