import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError } from "@manyhands/kit";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { toMemoryStore } from "../map/memory.ts";
import { toServicePatch } from "../schemas/common.ts";
import { memoryStoreCreate, memoryStoreUpdate } from "../schemas/memory.ts";
import type { DeletedMemoryStore, MemoryStore, Page } from "../sdk-types.ts";

/** Handlers of `memoryStores.*`. */
export const memoryStoreRoutes = ({ memories }: Pick<Deps, "memories">) => ({
  "memoryStores.create": async (call: Call): Promise<MemoryStore> => {
    const input = check(memoryStoreCreate, call.body, "body");
    const request = {
      workspaceId: call.caller.workspaceId,
      name: input.name,
      description: input.description ?? "",
      metadata: input.metadata ?? {},
      requestId: call.identity().requestId,
    };
    return answer((await memories.createMemoryStore(request, call.rpc)).store);
  },

  "memoryStores.retrieve": async (call: Call): Promise<MemoryStore> =>
    answer((await memories.getMemoryStore(storeOf(call), call.rpc)).store),

  "memoryStores.list": async (call: Call): Promise<Page<MemoryStore>> => {
    const query = readQuery(call.query, {
      limit: param.limit(20),
      page: param.text(),
      include_archived: param.flag(),
      "created_at[gte]": param.time(),
      "created_at[lte]": param.time(),
    });
    const { "created_at[gte]": from, "created_at[lte]": to } = query;
    const request = {
      workspaceId: call.caller.workspaceId,
      includeArchived: query.include_archived,
      pageSize: query.limit,
      pageToken: query.page ?? "",
      ...(from === undefined ? {} : { createdFrom: timestampFromMs(from) }),
      ...(to === undefined ? {} : { createdTo: timestampFromMs(to) }),
    };
    const page = await memories.listMemoryStores(request, call.rpc);
    return { data: page.stores.map(toMemoryStore), next_page: page.nextPageToken || null };
  },

  "memoryStores.update": async (call: Call): Promise<MemoryStore> => {
    const input = check(memoryStoreUpdate, call.body ?? {}, "body");
    const request = {
      ...storeOf(call),
      metadata: toServicePatch(input.metadata),
      ...(input.name == null ? {} : { name: input.name }),
      ...(input.description === undefined ? {} : { description: input.description ?? "" }),
    };
    return answer((await memories.updateMemoryStore(request, call.rpc)).store);
  },

  "memoryStores.archive": async (call: Call): Promise<MemoryStore> =>
    answer((await memories.archiveMemoryStore(storeOf(call), call.rpc)).store),

  "memoryStores.delete": async (call: Call): Promise<DeletedMemoryStore> => {
    const request = storeOf(call);
    await memories.deleteMemoryStore(request, call.rpc);
    return { id: request.storeId, type: "memory_store_deleted" };
  },
});

/** The store that a request's path names. */
export function storeOf(call: Call) {
  return { workspaceId: call.caller.workspaceId, storeId: call.param("store") };
}

function answer(store: Parameters<typeof toMemoryStore>[0] | undefined): MemoryStore {
  if (store === undefined) throw AppError.internal(new Error("session-store answered without a memory store"));
  return toMemoryStore(store);
}
