import { newId } from "@manyhands/kit";
import type { HandRecord, StoredHand } from "./hand-record.ts";
import type { HandStore } from "./hand-store.ts";
import { arrived, isFree, leftBehind } from "./moved-hand.ts";

/** Records of one process, for tests and for a manager that shares nothing. */
export function createMemoryHandStore(): HandStore {
  const records = new Map<string, StoredHand>();
  const keyOfHand = new Map<string, string>();
  const platformId = newId("plat");
  let lastRevision = 0;
  return {
    async platformId() {
      return platformId;
    },
    async current(sessionId, name) {
      return records.get(key(sessionId, name));
    },
    async byId(handId) {
      return records.get(keyOfHand.get(handId) ?? "");
    },
    async write(record: HandRecord, revision: number) {
      const at = key(record.sessionId, record.name);
      if ((records.get(at)?.revision ?? 0) !== revision) return undefined;
      const stored = { record, revision: ++lastRevision };
      records.set(at, stored);
      keyOfHand.set(record.handId, at);
      return stored;
    },
    async move({ record, revision }, to) {
      const from = key(record.sessionId, record.name);
      const at = key(to.sessionId, to.name);
      const before = records.get(at)?.record;
      const left = leftBehind(record, to);
      const moved = arrived(left, to.name, before);
      if (!moved || !isFree(before) || records.get(from)?.revision !== revision) return undefined;
      records.set(from, { record: left, revision: ++lastRevision });
      const stored = { record: moved, revision: ++lastRevision };
      records.set(at, stored);
      keyOfHand.set(record.handId, at);
      return stored;
    },
    async list(sessionId) {
      return [...records]
        .filter(([, { record }]) => sessionId === undefined || record.sessionId === sessionId)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([, stored]) => stored);
    },
  };
}

function key(sessionId: string, name: string): string {
  return `${sessionId}.${name}`;
}
