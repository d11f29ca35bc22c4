import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { isId } from "@manyhands/core";
import { AppError, type ServiceImpl } from "@manyhands/kit";
import { type MemoryService, type MemoryStore, MemoryStoreSchema } from "@manyhands/protocol";
import { idFor, pageOf } from "../catalog/versioned.ts";
import type { Deps } from "../deps.ts";
import type { StoreName } from "../memory/store-log.ts";
import { createdMs } from "../memory/stores.ts";
import { checkRequestId, checkTitleAndMetadata, checkWorkspace, type Rules, rules } from "./request-rules.ts";

const maxName = 255;
const maxDescription = 1024;
const maxPairs = 16;

type StoreHandlers = Pick<
  ServiceImpl<typeof MemoryService>,
  | "createMemoryStore"
  | "getMemoryStore"
  | "listMemoryStores"
  | "updateMemoryStore"
  | "archiveMemoryStore"
  | "deleteMemoryStore"
>;

/** RPCs of MemoryService about the stores themselves. */
export function memoryStoreHandlers({
  memoryStores,
  memories,
  clock,
}: Pick<Deps, "memoryStores" | "memories" | "clock">) {
  return {
    async createMemoryStore({ workspaceId, name, description, metadata, requestId }) {
      const rule = rules();
      checkWorkspace(rule, workspaceId, false);
      checkRequestId(rule, requestId);
      checkTitleAndMetadata(rule, "", metadata);
      checkWords(rule, name, description);
      rule.done();
      const at = timestampFromMs(clock.nowMs());
      const id = idFor("memstore", workspaceId, requestId);
      const times = { createdAt: at, updatedAt: at };
      const store = create(MemoryStoreSchema, { id, workspaceId, name, description, metadata, ...times });
      return { store: await memoryStores.create(store) };
    },
    async getMemoryStore(request) {
      return { store: await memoryStores.get(storeName(request)) };
    },
    async listMemoryStores(request) {
      const rule = rules();
      checkWorkspace(rule, request.workspaceId, false);
      rule.done();
      const from = request.createdFrom ? timestampMs(request.createdFrom) : 0;
      const to = request.createdTo ? timestampMs(request.createdTo) : Number.POSITIVE_INFINITY;
      const all = (await memoryStores.list(request.workspaceId)).filter(
        (store) =>
          (request.includeArchived || store.archivedAt === undefined) &&
          createdMs(store) >= from &&
          createdMs(store) <= to,
      );
      const { items, nextPageToken } = pageOf(all, ({ id }) => id, request);
      return { stores: items, nextPageToken };
    },
    async updateMemoryStore(request) {
      const { name, description, metadata } = request;
      const rule = rules();
      checkTitleAndMetadata(rule, "", metadata, true);
      checkWords(rule, name ?? "kept", description ?? "");
      rule.done();
      const store = await memoryStores.update(storeName(request), clock.nowMs(), (before) => {
        refuseArchived(before);
        const merged = { ...before.metadata, ...metadata };
        const pairs = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ""));
        const after = rules();
        after.check(Object.keys(pairs).length <= maxPairs, "metadata", `would hold more than ${maxPairs} pairs`);
        after.done();
        const words = { name: name ?? before.name, description: description ?? before.description };
        const isKept = words.name === before.name && words.description === before.description;
        return isKept && JSON.stringify(pairs) === JSON.stringify(before.metadata)
          ? undefined
          : { ...words, metadata: pairs };
      });
      return { store };
    },
    async archiveMemoryStore(request) {
      const at = clock.nowMs();
      const archive = (before: MemoryStore) =>
        before.archivedAt === undefined ? { archivedAt: timestampFromMs(at) } : undefined;
      return { store: await memoryStores.update(storeName(request), at, archive) };
    },
    async deleteMemoryStore(request) {
      const name = storeName(request);
      await memoryStores.remove(name);
      await memories.remove(name);
      return {};
    },
  } satisfies StoreHandlers;
}

/** The store that a request names; its id is part of keys. Throws AppError `invalid` or NOT_FOUND. */
export function storeName({ workspaceId, storeId }: { workspaceId: string; storeId: string }): StoreName {
  const rule = rules();
  checkWorkspace(rule, workspaceId, false);
  rule.done();
  if (!isId("memoryStore", storeId)) throw AppError.notFound("memory store", storeId.slice(0, 64));
  return { workspaceId, storeId };
}

/** An archived store takes no more memories. */
export function refuseArchived({ id, archivedAt }: MemoryStore): void {
  if (archivedAt === undefined) return;
  throw new AppError("fenced", { reason: "ARCHIVED", message: `memory store ${id} is archived and takes no changes` });
}

function checkWords(rule: Rules, name: string, description: string): void {
  const isName = [...name].length >= 1 && [...name].length <= maxName && !/\p{Cc}/u.test(name);
  rule.check(isName, "name", `must have 1 to ${maxName} characters and no control characters`);
  rule.check(
    [...description].length <= maxDescription,
    "description",
    `must have at most ${maxDescription} characters`,
  );
}
