import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError } from "@manyhands/kit";
import { MemoryOperation } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { operationByName, toListItem, toMemory, toMemoryVersion } from "../map/memory.ts";
import { memoryCreate, memoryUpdate } from "../schemas/memory.ts";
import type { DeletedMemory, Memory, MemoryListItem, MemoryVersion, Page } from "../sdk-types.ts";
import { storeOf } from "./stores-of-memories.ts";

const MAX_BASIC = 100;
const MAX_FULL = 20;

type View = "basic" | "full";

/** Handlers of `memories.*` and `memoryVersions.*`. */
export const memoryRoutes = ({ memories }: Pick<Deps, "memories">) => ({
  "memories.create": async (call: Call): Promise<Memory> => {
    const { path, content } = check(memoryCreate, call.body, "body");
    const request = { ...askedStore(call), path, content: content ?? "", actor: actorOf(call) };
    const { memory } = await memories.createMemory(request, call.rpc);
    return answer(call, memory, viewOf(call, "basic"));
  },

  "memories.retrieve": async (call: Call): Promise<Memory> => {
    const view = viewOf(call, "full");
    return answer(call, (await memories.getMemory(memoryOf(call), call.rpc)).memory, view);
  },

  "memories.list": async (call: Call): Promise<Page<MemoryListItem>> => {
    const view = viewOf(call, "basic");
    const query = readQuery(call.query, {
      limit: param.limit(20),
      page: param.text(),
      path_prefix: param.text(),
      depth: param.oneOf(["0", "1"]),
    });
    const request = {
      ...askedStore(call),
      pathPrefix: query.path_prefix ?? "",
      depth: Number(query.depth ?? 0),
      ...pageOf(view, query),
    };
    const page = await memories.listMemories(request, call.rpc);
    const data = page.items.flatMap((item) => toListItem(request.storeId, item, view === "full"));
    return { data, next_page: page.nextPageToken || null };
  },

  "memories.update": async (call: Call): Promise<Memory> => {
    const input = check(memoryUpdate, call.body ?? {}, "body");
    const request = {
      ...memoryOf(call),
      ...(input.content == null ? {} : { content: input.content }),
      ...(input.path == null ? {} : { path: input.path }),
      expectedSha256: input.precondition?.content_sha256 ?? "",
      actor: actorOf(call),
    };
    return answer(call, (await memories.updateMemory(request, call.rpc)).memory, viewOf(call, "basic"));
  },

  "memories.delete": async (call: Call): Promise<DeletedMemory> => {
    const { expected_content_sha256: expectedSha256 = "" } = readQuery(call.query, {
      expected_content_sha256: param.text(),
    });
    const request = { ...memoryOf(call), expectedSha256, actor: actorOf(call) };
    await memories.deleteMemory(request, call.rpc);
    return { id: request.memoryId, type: "memory_deleted" };
  },

  "memoryVersions.list": async (call: Call): Promise<Page<MemoryVersion>> => {
    const view = viewOf(call, "basic");
    const query = readQuery(call.query, {
      limit: param.limit(20),
      page: param.text(),
      memory_id: param.text(),
      session_id: param.text(),
      api_key_id: param.text(),
      service_account_id: param.text(),
      operation: param.oneOf(["created", "modified", "deleted"]),
      "created_at[gte]": param.time(),
      "created_at[lte]": param.time(),
    });
    if (query.service_account_id !== undefined) return { data: [], next_page: null };
    const { "created_at[gte]": from, "created_at[lte]": to } = query;
    const request = {
      ...storeOf(call),
      memoryId: query.memory_id ?? "",
      sessionId: query.session_id ?? "",
      apiKeyId: query.api_key_id ?? "",
      operation: query.operation === undefined ? MemoryOperation.UNSPECIFIED : operationByName[query.operation],
      ...(from === undefined ? {} : { createdFrom: timestampFromMs(from) }),
      ...(to === undefined ? {} : { createdTo: timestampFromMs(to) }),
      ...pageOf(view, query),
    };
    const page = await memories.listMemoryVersions(request, call.rpc);
    const data = page.versions.map((version) => toMemoryVersion(request.storeId, version, view === "full"));
    return { data, next_page: page.nextPageToken || null };
  },

  "memoryVersions.retrieve": async (call: Call): Promise<MemoryVersion> => {
    const view = viewOf(call, "full");
    return answerVersion(call, (await memories.getMemoryVersion(versionOf(call), call.rpc)).version, view);
  },

  "memoryVersions.redact": async (call: Call): Promise<MemoryVersion> => {
    const request = { ...versionOf(call), actor: actorOf(call) };
    return answerVersion(call, (await memories.redactMemoryVersion(request, call.rpc)).version, "full");
  },
});

function viewOf(call: Call, fallback: View): View {
  return readQuery(call.query, { view: param.oneOf(["basic", "full"]) }).view ?? fallback;
}

/** More than a page can hold is answered by less: the client asks on. */
function pageOf(view: View, { limit, page }: { limit: number; page?: string | undefined }) {
  const full = view === "full";
  return { full, pageSize: Math.min(limit, full ? MAX_FULL : MAX_BASIC), pageToken: page ?? "" };
}

function memoryOf(call: Call) {
  return { ...askedStore(call), memoryId: call.param("memory") };
}

/** The holder of a work item's token asks in the name of its session, and gets what that was given. */
function askedStore(call: Call) {
  const { work } = call.caller;
  return work === undefined
    ? storeOf(call)
    : { workspaceId: "", storeId: call.param("store"), sessionId: work.sessionId ?? "" };
}

function versionOf(call: Call) {
  return { ...storeOf(call), versionId: call.param("version") };
}

function actorOf({ caller }: Call) {
  return { apiKeyId: caller.keyId };
}

function answer(call: Call, memory: Parameters<typeof toMemory>[1] | undefined, view: View): Memory {
  if (memory === undefined) throw AppError.internal(new Error("session-store answered without a memory"));
  return toMemory(call.param("store"), memory, view === "full");
}

function answerVersion(call: Call, version: Parameters<typeof toMemoryVersion>[1] | undefined, view: View) {
  if (version === undefined) throw AppError.internal(new Error("session-store answered without a version"));
  return toMemoryVersion(call.param("store"), version, view === "full");
}
