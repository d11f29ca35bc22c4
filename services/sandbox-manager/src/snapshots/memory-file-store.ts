import { createHash } from "node:crypto";
import type { FileStore } from "./file-store.ts";

/** For tests and a manager without a bus: gone with the process. */
export function createMemoryFileStore(): FileStore {
  const kept = new Map<string, Uint8Array>();
  const heads = new Map<string, string>();
  return {
    async putData(sessionId, bytes) {
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      kept.set(`data.${sessionId}.${sha256}`, bytes);
      return sha256;
    },
    readData: async (sessionId, sha256) => kept.get(`data.${sessionId}.${sha256}`),
    async putRecord(sessionId, snapshotId, bytes) {
      const key = `record.${sessionId}.${snapshotId}`;
      if (!kept.has(key)) kept.set(key, bytes);
    },
    readRecord: async (sessionId, snapshotId) => kept.get(`record.${sessionId}.${snapshotId}`),
    async findFirst(snapshotIds) {
      for (const snapshotId of snapshotIds) {
        const key = [...kept.keys()].find((one) => one.startsWith("record.") && one.endsWith(`.${snapshotId}`));
        if (key !== undefined) return { sessionId: key.split(".")[1] ?? "", snapshotId };
      }
      return undefined;
    },
    async setHead(sessionId, handId, snapshotId) {
      heads.set(`${sessionId}.${handId}`, snapshotId);
    },
    head: async (sessionId, handId) => heads.get(`${sessionId}.${handId}`),
    async forget(sessionId) {
      for (const key of [...kept.keys()]) if (key.split(".")[1] === sessionId) kept.delete(key);
      for (const key of [...heads.keys()]) if (key.startsWith(`${sessionId}.`)) heads.delete(key);
    },
  };
}
