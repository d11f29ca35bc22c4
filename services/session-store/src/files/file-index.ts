/**
 * What is known of files, in a bucket: `file.{workspace}.{session or -}.{file}`, written once a content is whole. While a
 * content comes or goes `upload.{workspace}.{content}` names it, so that what a crash leaves is found and removed.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { KvBucket } from "@manyhands/bus";
import { AppError } from "@manyhands/kit";
import { type WorkspaceFile, WorkspaceFileSchema } from "@manyhands/protocol";
import { contended, maxSwaps } from "../catalog/versioned.ts";
import type { ContentName } from "./content-store.ts";

/** Files of one workspace. */
export const maxFiles = 10_000;
const maxEntries = 100_000;
const noSession = "-";

/** What came of keeping a file: the file, and a content that nothing names any more. */
export interface Kept {
  readonly file: WorkspaceFile;
  readonly unused: string | undefined;
}

/** Files of all workspaces; a file of another workspace is NOT_FOUND. */
export type FileIndex = ReturnType<typeof createFileIndex>;

/** The index over its bucket; `purge` removes a key without a trace. */
export function createFileIndex(bucket: KvBucket, purge: (key: string) => Promise<void>) {
  const find = async (workspaceId: string, fileId: string) => {
    const [entry] = await bucket.entries(`file.${workspaceId}.*.${fileId}`, 1);
    return entry && { file: decode(entry.value), entry };
  };
  const list = async (workspaceId: string, sessionId: string) =>
    (await bucket.entries(`file.${workspaceId}.${sessionId || "*"}.*`, maxEntries)).map(({ value }) => decode(value));
  return {
    /** Newest first; empty session: all. */
    async list(workspaceId: string, sessionId: string): Promise<WorkspaceFile[]> {
      return (await list(workspaceId, sessionId)).sort(byAge);
    },
    /** One of them. */
    async get(workspaceId: string, fileId: string): Promise<WorkspaceFile> {
      const found = await find(workspaceId, fileId);
      if (found === undefined) throw AppError.notFound("file", fileId);
      return found.file;
    },
    /** Enters an uploaded file; the one that is there under its id stands when it has the same content. */
    async add(file: WorkspaceFile): Promise<Kept> {
      if ((await bucket.create(keyOf(file), encode(file))) !== undefined) return { file, unused: undefined };
      const there = await this.get(file.workspaceId, file.id);
      if (there.sha256 === file.sha256) return { file: there, unused: file.contentId };
      throw AppError.conflict("ID_REUSED", "request_id: was used before with another content");
    },
    /** Enters a file in place of the one under its id. */
    async replace(file: WorkspaceFile): Promise<Kept> {
      for (let attempt = 0; attempt < maxSwaps; attempt += 1) {
        const entry = await bucket.get(keyOf(file));
        if (entry === undefined) {
          if ((await bucket.create(keyOf(file), encode(file))) !== undefined) return { file, unused: undefined };
          continue;
        }
        const there = decode(entry.value);
        if (there.sha256 === file.sha256) return { file: there, unused: file.contentId };
        await this.begin({ workspaceId: file.workspaceId, contentId: there.contentId });
        const swapped = await bucket.update(entry.key, encode(file), entry.revision);
        if (swapped !== undefined) return { file, unused: there.contentId };
      }
      throw contended(`file ${file.id}`);
    },
    /** Takes it out. */
    async remove(workspaceId: string, fileId: string): Promise<WorkspaceFile> {
      const found = await find(workspaceId, fileId);
      if (found === undefined) throw AppError.notFound("file", fileId);
      await purge(found.entry.key);
      return found.file;
    },
    /** Notes that a content is on its way, or about to go. */
    async begin({ workspaceId, contentId }: ContentName): Promise<void> {
      await bucket.put(`upload.${workspaceId}.${contentId}`, new Uint8Array());
    },
    /** The content is named by a file, or gone. */
    async settle({ workspaceId, contentId }: ContentName): Promise<void> {
      await purge(`upload.${workspaceId}.${contentId}`);
    },
    /** Contents that were begun before a time and are not settled. */
    async unsettled(beforeMs: number): Promise<ContentName[]> {
      const entries = await bucket.entries("upload.*.*", maxEntries);
      return entries.flatMap(({ key, writtenAt }) => {
        const [, workspaceId = "", contentId = ""] = key.split(".");
        return writtenAt < beforeMs ? [{ workspaceId, contentId }] : [];
      });
    },
    /** Files of all workspaces. */
    async everything(): Promise<WorkspaceFile[]> {
      return (await bucket.entries("file.*.*.*", maxEntries)).map(({ value }) => decode(value));
    },
  };
}

/** When a file's time is over, milliseconds since 1970; undefined: never. */
export function expiryMs({ expiresAt }: WorkspaceFile): number | undefined {
  return expiresAt === undefined ? undefined : timestampMs(expiresAt);
}

/** True when its content is not to be had any more. */
export function isExpired(file: WorkspaceFile, nowMs: number): boolean {
  return (expiryMs(file) ?? Number.POSITIVE_INFINITY) <= nowMs;
}

function keyOf({ workspaceId, sessionId, id }: WorkspaceFile): string {
  return `file.${workspaceId}.${sessionId || noSession}.${id}`;
}

function byAge(a: WorkspaceFile, b: WorkspaceFile): number {
  return createdMs(b) - createdMs(a) || (a.id < b.id ? 1 : -1);
}

function createdMs({ createdAt }: WorkspaceFile): number {
  return createdAt === undefined ? 0 : timestampMs(createdAt);
}

const encode = (file: WorkspaceFile) => toBinary(WorkspaceFileSchema, file);
const decode = (bytes: Uint8Array) => fromBinary(WorkspaceFileSchema, bytes);
