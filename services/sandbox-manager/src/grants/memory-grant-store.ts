import { randomBytes } from "node:crypto";
import type { GrantStore, StoredGrants } from "./grant-store.ts";

/** Grants of one process, for tests and for a manager that shares nothing. */
export function createMemoryGrantStore(): GrantStore {
  const key = randomBytes(32);
  const stored = new Map<string, StoredGrants>();
  const hands = new Map<string, string>();
  let lastRevision = 0;
  return {
    key: async () => key,
    read: async (handId) => stored.get(handId) ?? { all: { handId, grants: [] }, revision: 0 },
    async write(all, revision) {
      if ((stored.get(all.handId)?.revision ?? 0) !== revision) return undefined;
      const written = { all, revision: ++lastRevision };
      stored.set(all.handId, written);
      for (const { grantId } of all.grants) hands.set(grantId, all.handId);
      return written;
    },
    handOf: async (grantId) => hands.get(grantId),
    list: async () => [...stored.values()],
    async forget({ all, revision }) {
      if (stored.get(all.handId)?.revision !== revision) return;
      stored.delete(all.handId);
      for (const { grantId } of all.grants) hands.delete(grantId);
    },
  };
}
