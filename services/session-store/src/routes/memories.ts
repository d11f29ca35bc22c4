import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { AppError, newId, type ServiceImpl } from "@manyhands/kit";
import {
  type ListMemoryVersionsRequest,
  type Memory,
  type MemoryActor,
  MemoryActorSchema,
  type MemoryIndex,
  MemoryOperation,
  MemorySchema,
  type MemoryService,
  type MemoryVersion,
  MemoryVersionSchema,
} from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import {
  type Author,
  createdMemory,
  deletedMemory,
  maxContentBytes,
  memoryOf,
  modifiedMemory,
} from "../memory/change-memory.ts";
import { listMemories } from "../memory/list-memories.ts";
import { memoryPathProblem } from "../memory/path-rules.ts";
import type { StoreName } from "../memory/store-log.ts";
import { decodePageToken, encodePageToken, queryHash } from "../page-token.ts";
import { checkSessionId, type Rules, rules } from "./request-rules.ts";
import { refuseArchived, storeName } from "./stores-of-memories.ts";

const defaultPage = 20;
const maxPage = 100;
const maxFullPage = 20;
/** Versions looked at for one page: a filter that fits few gives short pages, not long waits. */
const maxLookedAt = 200;
const readsAtOnce = 20;

type Asked = {
  readonly workspaceId: string;
  readonly storeId: string;
  readonly sessionId: string;
  readonly actor?: MemoryActor | undefined;
};
type Need = "read" | "write";
type MemoryDeps = Pick<Deps, "memoryStores" | "memories" | "cache" | "clock">;

/** RPCs of MemoryService about what is in the stores. */
export function memoryHandlers(deps: MemoryDeps): ServiceImpl<typeof MemoryService> {
  const { memoryStores, memories, clock } = deps;
  const authorOf = (actor: MemoryActor | undefined): Author => ({ versionId: "", nowMs: clock.nowMs(), actor });

  /** The version's id says its number, so that it is found by it. */
  const numbered = (index: MemoryIndex, by: Author): Author => ({
    ...by,
    versionId: `memver_${index.sequence + 1n}_${newId("v").slice(2)}`,
  });

  const withContent = async (name: StoreName, memory: Memory): Promise<Memory> => {
    const version = await memories.versionAt(name, sequenceOf(memory.versionId));
    if (version?.content === undefined) throw AppError.unavailable("MEMORY_CHANGED", "the memory changed meanwhile");
    return create(MemorySchema, { ...memory, content: version.content });
  };

  const writable = async (name: StoreName) => refuseArchived(await memoryStores.get(name));

  /** The store and who asks: somebody of its workspace, or a session that was given it. */
  const asked = async (request: Asked, need: Need) => {
    if (request.workspaceId !== "" || request.sessionId === "")
      return { name: storeName(request), actor: request.actor };
    const workspaceId = await workspaceOfSession(deps.cache, request, need);
    const actor = create(MemoryActorSchema, { sessionId: request.sessionId });
    return { name: storeName({ ...request, workspaceId }), actor };
  };

  return {
    async createMemory(request) {
      const { name, actor } = await asked(request, "write");
      const rule = rules();
      checkPath(rule, request.path);
      checkContent(rule, request.content);
      rule.done();
      await writable(name);
      const memoryId = newId("mem");
      const by = authorOf(actor);
      const index = await memories.change(name, (now) =>
        createdMemory(now, memoryId, request.path, request.content, numbered(now, by)),
      );
      return { memory: create(MemorySchema, { ...memoryOf(index, memoryId), content: request.content }) };
    },
    async getMemory(request) {
      const { name } = await asked(request, "read");
      await memoryStores.get(name);
      return { memory: await withContent(name, memoryOf(await memories.read(name), request.memoryId)) };
    },
    async listMemories(request) {
      const { name } = await asked(request, "read");
      const limit = limitOf(request);
      const rule = rules();
      rule.check(request.depth <= 1, "depth", "must be 0 or 1");
      const { pathPrefix } = request;
      const isFolder = pathPrefix === "" || (pathPrefix.startsWith("/") && pathPrefix.endsWith("/"));
      rule.check(isFolder, "path_prefix", "must begin and end with /");
      rule.done();
      await memoryStores.get(name);
      const query = queryHash({ ...request, pageSize: 0, pageToken: "" });
      const afterKey = String(decodePageToken(query, request.pageToken)?.[0] ?? "");
      const index = await memories.read(name);
      const { items, more } = listMemories(index, { prefix: pathPrefix, depth: request.depth, afterKey, limit });
      const shown = await Promise.all(
        items.map(async (item) => {
          if ("prefix" in item) return { item: { case: "prefix" as const, value: item.prefix } };
          const value = request.full ? await withContent(name, item.memory) : item.memory;
          return { item: { case: "memory" as const, value } };
        }),
      );
      const last = items.at(-1);
      return { items: shown, nextPageToken: more && last ? encodePageToken(query, [last.key]) : "" };
    },
    async updateMemory(request) {
      const { name, actor } = await asked(request, "write");
      const { memoryId, content, path, expectedSha256 } = request;
      const rule = rules();
      if (path !== undefined) checkPath(rule, path);
      if (content !== undefined) checkContent(rule, content);
      rule.done();
      await writable(name);
      const by = authorOf(actor);
      // Of a mere move the content is needed too; it cannot change without its hash.
      const before = await withContent(name, memoryOf(await memories.read(name), memoryId));
      const index = await memories.change(name, (now) => {
        const isMoved = content === undefined && memoryOf(now, memoryId).contentSha256 !== before.contentSha256;
        if (isMoved) throw AppError.unavailable("MEMORY_CHANGED", "the memory changed meanwhile");
        return modifiedMemory(
          now,
          { memoryId, content, path, expectedSha256 },
          before.content ?? "",
          numbered(now, by),
        );
      });
      const after = memoryOf(index, memoryId);
      return { memory: create(MemorySchema, { ...after, content: content ?? before.content ?? "" }) };
    },
    async deleteMemory(request) {
      const { name, actor } = await asked(request, "write");
      await memoryStores.get(name);
      const by = authorOf(actor);
      await memories.change(name, (now) =>
        deletedMemory(now, request.memoryId, request.expectedSha256, numbered(now, by)),
      );
      return {};
    },
    async listMemoryVersions(request) {
      const name = storeName(request);
      const limit = limitOf(request);
      await memoryStores.get(name);
      const query = queryHash({ ...request, pageSize: 0, pageToken: "" });
      const cursor = decodePageToken(query, request.pageToken)?.[0];
      const newest = cursor === undefined ? Number((await memories.read(name)).sequence) : Number(cursor);
      const found: MemoryVersion[] = [];
      let next = newest;
      const lowest = Math.max(0, newest - maxLookedAt);
      while (next > lowest && found.length < limit) {
        const count = Math.min(readsAtOnce, next - lowest);
        const some = await Promise.all(Array.from({ length: count }, (_, n) => memories.versionAt(name, next - n)));
        for (const version of some) {
          if (found.length >= limit) break;
          next -= 1;
          if (version !== undefined && fits(version, request))
            found.push(request.full ? version : withoutContent(version));
        }
      }
      return { versions: found, nextPageToken: next > 0 ? encodePageToken(query, [next]) : "" };
    },
    async getMemoryVersion(request) {
      const name = storeName(request);
      await memoryStores.get(name);
      const version = await memories.versionAt(name, sequenceOf(request.versionId));
      if (version?.id !== request.versionId) throw AppError.notFound("memory version", request.versionId.slice(0, 64));
      return { version };
    },
    async redactMemoryVersion(request) {
      const name = storeName(request);
      await memoryStores.get(name);
      const { versionId } = request;
      const { memories: now } = await memories.read(name);
      if (now.some((memory) => memory.versionId === versionId)) {
        const message = `version ${versionId} is what a memory holds now: change or delete the memory first`;
        throw AppError.conflict("MEMORY_VERSION_CURRENT", message);
      }
      const version = await memories.rewrite(name, sequenceOf(versionId), (before) =>
        before.id === versionId && before.redactedAt === undefined
          ? redacted(before, clock.nowMs(), request.actor)
          : undefined,
      );
      if (version?.id !== versionId) throw AppError.notFound("memory version", versionId.slice(0, 64));
      return { version };
    },
  };
}

/** A session reads what it was given and nothing else, and changes what it was given to change. */
async function workspaceOfSession(
  cache: MemoryDeps["cache"],
  { sessionId, storeId }: Pick<Asked, "sessionId" | "storeId">,
  need: Need,
): Promise<string> {
  const rule = rules();
  checkSessionId(rule, sessionId);
  rule.done();
  const { header } = await cache.current(sessionId);
  const given = header?.resources.find(({ memory_store_id }) => memory_store_id === storeId);
  if (header === undefined || header.deleted || !given) throw AppError.notFound("memory store", storeId.slice(0, 64));
  if (need === "write" && given.access !== "read_write")
    throw AppError.denied(
      "MEMORY_READ_ONLY",
      `session ${sessionId} may read memory store ${storeId} and not change it`,
    );
  return header.workspace_id;
}

function checkPath(rule: Rules, path: string): void {
  const problem = memoryPathProblem(path);
  rule.check(problem === undefined, "path", problem ?? "");
}

function checkContent(rule: Rules, content: string): void {
  rule.check(Buffer.byteLength(content) <= maxContentBytes, "content", `must have at most ${maxContentBytes} bytes`);
}

function limitOf({ pageSize, full }: { pageSize: number; full: boolean }): number {
  const max = full ? maxFullPage : maxPage;
  if (pageSize <= max) return pageSize === 0 ? defaultPage : pageSize;
  throw AppError.invalid([{ field: "page_size", description: `must be 1 to ${max}${full ? " with contents" : ""}` }]);
}

/** The number in a version's id; 0, which none has, for another shape. */
function sequenceOf(versionId: string): number {
  return Number(/^memver_(\d{1,9})_[A-Za-z0-9]+$/.exec(versionId)?.[1] ?? 0);
}

function fits(version: MemoryVersion, request: ListMemoryVersionsRequest): boolean {
  const { memoryId, operation, sessionId, apiKeyId, createdFrom, createdTo } = request;
  const at = version.createdAt ? timestampMs(version.createdAt) : 0;
  return (
    (memoryId === "" || memoryId === version.memoryId) &&
    (operation === MemoryOperation.UNSPECIFIED || operation === version.operation) &&
    (sessionId === "" || sessionId === version.createdBy?.sessionId) &&
    (apiKeyId === "" || apiKeyId === version.createdBy?.apiKeyId) &&
    (createdFrom === undefined || at >= timestampMs(createdFrom)) &&
    (createdTo === undefined || at <= timestampMs(createdTo))
  );
}

function withoutContent({ content: _, ...version }: MemoryVersion): MemoryVersion {
  return create(MemoryVersionSchema, version);
}

function redacted(version: MemoryVersion, nowMs: number, actor: MemoryActor | undefined): MemoryVersion {
  const { content: _, ...rest } = version;
  const nothing = { path: "", contentSha256: "", contentSize: 0 };
  const how = { redactedAt: timestampFromMs(nowMs), redactedBy: actor ?? create(MemoryActorSchema) };
  return create(MemoryVersionSchema, { ...rest, ...nothing, ...how });
}
