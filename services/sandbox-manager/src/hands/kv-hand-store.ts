import type { KvBucket } from "@manyhands/bus";
import { AppError, newId } from "@manyhands/kit";
import { type HandRecord, parseHandRecord, type StoredHand } from "./hand-record.ts";
import type { HandStore } from "./hand-store.ts";

/**
 * Records in a key-value bucket: `session.<session>.<name>` holds the record, `id.<hand>` the key it is under, and
 * `platform` the platform's id. The key is written before the record: a key that leads nowhere is harmless, a record
 * that its hand's id does not find would not be.
 */
export function createKvHandStore(bucket: KvBucket): HandStore {
  const find = async (key: string): Promise<StoredHand | undefined> => {
    const entry = await bucket.get(key);
    return entry && { record: parseHandRecord(entry.value), revision: entry.revision };
  };
  return {
    async platformId() {
      const made = Buffer.from(newId("plat"));
      if ((await bucket.create("platform", made)) !== undefined) return made.toString("utf8");
      const entry = await bucket.get("platform");
      if (!entry) throw AppError.unavailable("PLATFORM_ID_UNREADABLE", "the platform's id is there and cannot be read");
      return Buffer.from(entry.value).toString("utf8");
    },
    current: (sessionId, name) => find(recordKey(sessionId, name)),
    async byId(handId) {
      const entry = await bucket.get(`id.${handId}`);
      return entry && find(Buffer.from(entry.value).toString("utf8"));
    },
    async write(record: HandRecord, revision: number) {
      const key = recordKey(record.sessionId, record.name);
      if (record.state === "provisioning") await bucket.put(`id.${record.handId}`, Buffer.from(key));
      const value = Buffer.from(JSON.stringify(record));
      const written = revision === 0 ? await bucket.create(key, value) : await bucket.update(key, value, revision);
      return written === undefined ? undefined : { record, revision: written };
    },
    async list(sessionId) {
      const entries = await bucket.entries(sessionId === undefined ? "session.>" : `session.${sessionId}.*`);
      return entries
        .sort((a, b) => (a.key < b.key ? -1 : 1))
        .map((entry) => ({ record: parseHandRecord(entry.value), revision: entry.revision }));
    },
  };
}

function recordKey(sessionId: string, name: string): string {
  return `session.${sessionId}.${name}`;
}
