/** Decisions about memories: pure, from what the store holds to the version to be made. */
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError } from "@manyhands/kit";
import {
  type Memory,
  type MemoryActor,
  MemoryActorSchema,
  type MemoryIndex,
  MemoryOperation,
} from "@manyhands/protocol";
import { pathsConflict } from "./path-rules.ts";
import type { Change } from "./store-log.ts";

/** Bytes of one content. */
export const maxContentBytes = 102_400;

/** Who changes something, when, and under which new version id. */
export interface Author {
  readonly versionId: string;
  readonly nowMs: number;
  readonly actor: MemoryActor | undefined;
}

/** A new memory under a path that is free. */
export function createdMemory(index: MemoryIndex, memoryId: string, path: string, content: string, by: Author): Change {
  refuseConflict(index, path, memoryId);
  return { ...baseOf(by), memoryId, operation: MemoryOperation.CREATED, path, ...contentOf(content) };
}

/** What is asked of a memory that is there. */
export interface Wanted {
  readonly memoryId: string;
  readonly content: string | undefined;
  readonly path: string | undefined;
  readonly expectedSha256: string;
}

/** A change of content or path; undefined when it is so already. `contentOfNow` is what it holds. */
export function modifiedMemory(
  index: MemoryIndex,
  { memoryId, content, path, expectedSha256 }: Wanted,
  contentOfNow: string,
  by: Author,
): Change | undefined {
  const memory = memoryOf(index, memoryId);
  const isSameContent = content === undefined || sha256Of(content) === memory.contentSha256;
  if (isSameContent && (path === undefined || path === memory.path)) return undefined;
  refuseOther(memory, expectedSha256);
  if (path !== undefined) refuseConflict(index, path, memoryId);
  const next = { path: path ?? memory.path, ...contentOf(content ?? contentOfNow) };
  return { ...baseOf(by), memoryId, operation: MemoryOperation.MODIFIED, ...next };
}

/** The end of a memory. */
export function deletedMemory(index: MemoryIndex, memoryId: string, expectedSha256: string, by: Author): Change {
  const memory = memoryOf(index, memoryId);
  refuseOther(memory, expectedSha256);
  const nothing = { contentSha256: "", contentSize: 0 };
  return { ...baseOf(by), memoryId, operation: MemoryOperation.DELETED, path: memory.path, ...nothing };
}

/** A memory of now. Throws NOT_FOUND. */
export function memoryOf(index: MemoryIndex, memoryId: string): Memory {
  const memory = index.memories.find(({ id }) => id === memoryId);
  if (memory === undefined) throw AppError.notFound("memory", memoryId.slice(0, 64));
  return memory;
}

/** SHA-256 of a text's UTF-8 bytes, hex. */
export function sha256Of(content: string): string {
  return createHash("sha256").update(content).digest("hex");
}

function contentOf(content: string) {
  return { content, contentSha256: sha256Of(content), contentSize: Buffer.byteLength(content) };
}

function baseOf({ versionId, nowMs, actor }: Author) {
  const createdBy = actor ?? create(MemoryActorSchema);
  return { id: versionId, createdAt: timestampFromMs(nowMs), createdBy };
}

function refuseOther(memory: Memory, expectedSha256: string): void {
  if (expectedSha256 === "" || expectedSha256 === memory.contentSha256) return;
  const message = `memory ${memory.id} has another content: ${memory.contentSha256}`;
  throw AppError.conflict("MEMORY_PRECONDITION_FAILED", message, { content_sha256: memory.contentSha256 });
}

function refuseConflict(index: MemoryIndex, path: string, memoryId: string): void {
  const other = index.memories.find((memory) => memory.id !== memoryId && pathsConflict(memory.path, path));
  if (other === undefined) return;
  const message = `path: ${path} cannot be there beside ${other.path}`;
  const metadata = { conflicting_memory_id: other.id, conflicting_path: other.path };
  throw AppError.conflict("MEMORY_PATH_CONFLICT", message, metadata);
}
