/** Where the memories of mounted stores come from. */
import { AppError, type RpcClient } from "@manyhands/kit";
import type { MemoryService } from "@manyhands/protocol";

const READ_MS = 30_000;
const PAGE = 20;
/** Memories of one store that a hand is given. */
const MAX_MEMORIES = 2000;

/** A memory as a file. */
export type MemoryFile = { readonly path: string; readonly content: string };

/** The memories of a store on behalf of a session; rejects NOT_FOUND for a store that is gone or not the session's. */
export type MemorySource = (sessionId: string, storeId: string) => AsyncIterable<MemoryFile>;

/** Memories from session-store. */
export function createMemorySource(memories: Pick<RpcClient<typeof MemoryService>, "listMemories">): MemorySource {
  return async function* (sessionId, storeId) {
    let pageToken = "";
    for (let seen = 0; seen < MAX_MEMORIES; seen += PAGE) {
      const request = { sessionId, storeId, full: true, pageSize: PAGE, pageToken };
      const page = await memories.listMemories(request, { deadlineMs: READ_MS });
      for (const { item } of page.items)
        if (item.case === "memory") yield { path: item.value.path, content: item.value.content ?? "" };
      pageToken = page.nextPageToken;
      if (pageToken === "") return;
    }
  };
}

/** For managers that know no session-store. */
export const noMemories: MemorySource = (_sessionId, storeId) => {
  throw new AppError("notFound", { reason: "NO_SESSION_STORE", message: `${storeId}: this manager knows no memories` });
};
