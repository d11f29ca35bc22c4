/** The memories of stores that sessions were given. */
import { AppError, type RpcClient } from "@manyhands/kit";
import type { Memory, MemoryService } from "@manyhands/protocol";

const CALL_MS = 30_000;
const PAGE = 100;
const FULL_PAGE = 20;
/** Memories of one store that a hand is given. */
export const MAX_MEMORIES = 2000;

/** A store, and the session on whose behalf it is asked. */
export type GivenStore = { readonly sessionId: string; readonly storeId: string };

/** A memory as its store knows it; `path` begins with `/`, `sha256` is that of its content. */
export type KnownMemory = { readonly id: string; readonly path: string; readonly sha256: string };

/** A memory with its content. */
export type WholeMemory = KnownMemory & { readonly content: string };

/**
 * Memories by store. Every call is made on behalf of a session and rejected with NOT_FOUND for a store that is gone or not
 * among its resources, and for a change with MEMORY_READ_ONLY or ARCHIVED.
 */
export type Memories = {
  /** All of a store, with contents. */
  readAll(store: GivenStore): AsyncIterable<WholeMemory>;
  /** All of a store, by path. */
  list(store: GivenStore): Promise<ReadonlyMap<string, KnownMemory>>;
  /** NOT_FOUND/MEMORY_NOT_FOUND. */
  read(store: GivenStore, memoryId: string): Promise<WholeMemory>;
  /** `conflict`/MEMORY_PATH_CONFLICT. */
  create(store: GivenStore, path: string, content: string): Promise<void>;
  /** `conflict`/MEMORY_PRECONDITION_FAILED when its content is no more the one that is known. */
  update(store: GivenStore, memory: KnownMemory, change: { content?: string; path?: string }): Promise<void>;
  /** Likewise. */
  remove(store: GivenStore, memory: KnownMemory): Promise<void>;
};

type Client = Pick<
  RpcClient<typeof MemoryService>,
  "listMemories" | "getMemory" | "createMemory" | "updateMemory" | "deleteMemory"
>;

/** Memories from session-store. */
export function createMemories(client: Client): Memories {
  const options = { deadlineMs: CALL_MS };
  const pages = async function* (store: GivenStore, full: boolean) {
    const pageSize = full ? FULL_PAGE : PAGE;
    let pageToken = "";
    for (let seen = 0; seen < MAX_MEMORIES; seen += pageSize) {
      const page = await client.listMemories({ ...store, full, pageSize, pageToken }, options);
      for (const { item } of page.items) if (item.case === "memory") yield item.value;
      pageToken = page.nextPageToken;
      if (pageToken === "") return;
    }
  };
  return {
    async *readAll(store) {
      for await (const memory of pages(store, true)) yield whole(memory);
    },
    async list(store) {
      const all = new Map<string, KnownMemory>();
      for await (const memory of pages(store, false)) all.set(memory.path, known(memory));
      return all;
    },
    async read(store, memoryId) {
      const { memory } = await client.getMemory({ ...store, memoryId }, options);
      if (!memory) throw AppError.notFound("memory", memoryId);
      return whole(memory);
    },
    async create(store, path, content) {
      await client.createMemory({ ...store, path, content }, options);
    },
    async update(store, { id, sha256 }, change) {
      await client.updateMemory({ ...store, memoryId: id, expectedSha256: sha256, ...change }, options);
    },
    async remove(store, { id, sha256 }) {
      await client.deleteMemory({ ...store, memoryId: id, expectedSha256: sha256 }, options);
    },
  };
}

function known({ id, path, contentSha256 }: Memory): KnownMemory {
  return { id, path, sha256: contentSha256 };
}

function whole(memory: Memory): WholeMemory {
  return { ...known(memory), content: memory.content ?? "" };
}

/** For managers that know no session-store. */
export const noMemories: Memories = {
  readAll: refuse,
  list: refuse,
  read: refuse,
  create: refuse,
  update: refuse,
  remove: refuse,
};

function refuse({ storeId }: GivenStore): never {
  throw new AppError("notFound", { reason: "NO_SESSION_STORE", message: `${storeId}: this manager knows no memories` });
}
