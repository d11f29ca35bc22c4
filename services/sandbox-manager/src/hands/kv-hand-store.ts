import type { KvBucket } from "@manyhands/bus";
import { AppError, newId } from "@manyhands/kit";
import { type HandRecord, parseHandRecord, type StoredHand } from "./hand-record.ts";
import type { HandStore } from "./hand-store.ts";
import { arrived, isFree, leftBehind } from "./moved-hand.ts";

const MOVES = 8;

/**
 * Records in a key-value bucket: `session.<session>.<name>` holds the record, `id.<hand>` the key it is under, and
 * `platform` the platform's id. The key is written before the record: a key that leads nowhere is harmless, a record
 * that its hand's id does not find would not be.
 *
 * A move is three writes: the record left behind (from then on the hand is moved), the record at the other end, the
 * key. Whoever finds the first without the others does them.
 */
export function createKvHandStore(bucket: KvBucket): HandStore {
  const find = async (key: string): Promise<StoredHand | undefined> => {
    const entry = await bucket.get(key);
    return entry && { record: parseHandRecord(entry.value), revision: entry.revision };
  };
  const write = async (record: HandRecord, revision: number): Promise<StoredHand | undefined> => {
    const key = recordKey(record.sessionId, record.name);
    const value = Buffer.from(JSON.stringify(record));
    const written = revision === 0 ? await bucket.create(key, value) : await bucket.update(key, value, revision);
    return written === undefined ? undefined : { record, revision: written };
  };
  /** The key of the record at the other end, which is written unless it is there. */
  const arrive = async (left: HandRecord): Promise<string | undefined> => {
    const { handId, movedTo } = left;
    // A place that was taken in the same instant does not lose the hand: it then gets its id for a name.
    for (const name of movedTo ? [movedTo.name, handId] : []) {
      const before = movedTo && (await find(recordKey(movedTo.sessionId, name)));
      const moved = arrived(left, name, before?.record);
      if (!moved) return undefined;
      const isThere = before?.record.handId === handId && before.record.moved?.id === left.moved?.id;
      if (isThere) return recordKey(moved.sessionId, name);
      if (isFree(before?.record) && (await write(moved, before?.revision ?? 0)))
        return recordKey(moved.sessionId, name);
    }
    return undefined;
  };
  const byId = async (handId: string): Promise<StoredHand | undefined> => {
    for (let round = 0; round < MOVES; round++) {
      const entry = await bucket.get(`id.${handId}`);
      const found = entry && (await find(Buffer.from(entry.value).toString("utf8")));
      if (!entry || !found?.record.movedTo || found.record.handId !== handId) return found;
      const key = await arrive(found.record);
      if (key !== undefined) await bucket.update(`id.${handId}`, Buffer.from(key), entry.revision);
    }
    throw AppError.unavailable("HAND_MOVING", `hand ${handId} is moved too often`);
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
    byId,
    async move({ record, revision }, to) {
      if (!isFree((await find(recordKey(to.sessionId, to.name)))?.record)) return undefined;
      const left = Buffer.from(JSON.stringify(leftBehind(record, to)));
      if ((await bucket.update(recordKey(record.sessionId, record.name), left, revision)) === undefined)
        return undefined;
      return byId(record.handId);
    },
    async write(record: HandRecord, revision: number) {
      const key = recordKey(record.sessionId, record.name);
      if (record.state === "provisioning") await bucket.put(`id.${record.handId}`, Buffer.from(key));
      return write(record, revision);
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
