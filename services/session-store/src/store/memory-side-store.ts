/** What stands beside the log, in memory: for tests and as the second witness of the contract. */
import type { SideKey, SideStore } from "./side-store.ts";

/** A store of its own. */
export function createMemorySideStore(): SideStore {
  const sessions = new Map<string, Map<string, Uint8Array>>();
  return {
    async create(sessionId, { key, bytes }) {
      const objects = sessions.get(sessionId) ?? new Map<string, Uint8Array>();
      sessions.set(sessionId, objects);
      if (!objects.has(nameOf(key))) objects.set(nameOf(key), bytes.slice());
    },
    async read(sessionId, keys) {
      return keys.map((key) => sessions.get(sessionId)?.get(nameOf(key)));
    },
    async purge(sessionId) {
      const removed = sessions.get(sessionId)?.size ?? 0;
      sessions.delete(sessionId);
      return removed;
    },
  };
}

function nameOf(key: SideKey): string {
  return key.kind === "blob" ? `${key.sha256}/${key.chunk}` : `ids/${key.segment}`;
}
