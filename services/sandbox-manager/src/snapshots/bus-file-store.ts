import { createHash } from "node:crypto";
import { type Bus, createDirectReader, purgeMessages, putMessage, readMessages, subjects } from "@manyhands/bus";
import { retry } from "@manyhands/kit";
import type { FileStore } from "./file-store.ts";

const stream = "MH_FILES";
const timeoutMs = 5000;
const PURGE_MS = 30_000;
const WRITE_ATTEMPTS = 4;
const CHUNK_BYTES = 256 * 1024;
const CHUNKS_PER_READ = 256;
/** Chunks on their way at once. */
const WRITES_AT_ONCE = 8;
const INLINE_BYTES = 512 * 1024;
const INLINE = 0;
const APART = 1;
const HASH_BYTES = 32;

/** Snapshots in JetStream. A record that is too big for a message stands among the data; its message then refers to it. */
export function createBusFileStore(bus: Bus): FileStore & { close(): void } {
  const reader = createDirectReader(bus);

  const put = async (subject: string, payload: Uint8Array, replace = false) => {
    const message = { stream, subject, payload, timeoutMs, ...(replace ? {} : { expectedSequence: 0 }) } as const;
    await retry(() => putMessage(bus, message), { attempts: WRITE_ATTEMPTS, initialMs: 50, maxMs: 500 });
  };
  const read = async (subject: string) =>
    (await readMessages(reader, { stream, subjects: [subject], timeoutMs }))[0]?.data;

  const putData: FileStore["putData"] = async (sessionId, bytes) => {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const chunks = Math.ceil(bytes.length / CHUNK_BYTES);
    for (let from = 0; from < chunks; from += WRITES_AT_ONCE) {
      const some = Array.from({ length: Math.min(WRITES_AT_ONCE, chunks - from) }, (_, index) => from + index);
      await Promise.all(
        some.map((chunk) =>
          put(
            subjects.snapshotData(sessionId, sha256, chunk),
            bytes.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES),
          ),
        ),
      );
    }
    return sha256;
  };

  const readData: FileStore["readData"] = async (sessionId, sha256, sizeBytes) => {
    const whole = Buffer.alloc(sizeBytes);
    const chunks = Math.ceil(sizeBytes / CHUNK_BYTES);
    for (let from = 0; from < chunks; from += CHUNKS_PER_READ) {
      const wanted = new Map<string, number>();
      for (let chunk = from; chunk < Math.min(chunks, from + CHUNKS_PER_READ); chunk++)
        wanted.set(subjects.snapshotData(sessionId, sha256, chunk), chunk);
      const found = await readMessages(reader, { stream, subjects: [...wanted.keys()], timeoutMs });
      if (found.length < wanted.size) return undefined;
      for (const message of found) whole.set(message.data, (wanted.get(message.subject) ?? 0) * CHUNK_BYTES);
    }
    return createHash("sha256").update(whole).digest("hex") === sha256 ? whole : undefined;
  };

  return {
    putData,
    readData,
    async putRecord(sessionId, snapshotId, bytes) {
      if (bytes.length <= INLINE_BYTES) {
        return put(subjects.snapshot(sessionId, snapshotId), Buffer.concat([Buffer.from([INLINE]), bytes]));
      }
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(bytes.length));
      const sha256 = Buffer.from(await putData(sessionId, bytes), "hex");
      await put(subjects.snapshot(sessionId, snapshotId), Buffer.concat([Buffer.from([APART]), size, sha256]));
    },
    async readRecord(sessionId, snapshotId) {
      const found = await read(subjects.snapshot(sessionId, snapshotId));
      if (!found) return undefined;
      const message = Buffer.from(found);
      if (message[0] === INLINE) return message.subarray(1);
      const size = Number(message.readBigUInt64LE(1));
      return readData(sessionId, message.subarray(9, 9 + HASH_BYTES).toString("hex"), size);
    },
    async findFirst(snapshotIds) {
      const wanted = snapshotIds.map((id) => subjects.snapshotAnywhere(id));
      const found = new Map<string, string>();
      for (const { subject } of await readMessages(reader, { stream, subjects: wanted, timeoutMs })) {
        const [, , sessionId = "", snapshotId = ""] = subject.split(".");
        found.set(snapshotId, sessionId);
      }
      for (const snapshotId of snapshotIds) {
        const sessionId = found.get(snapshotId);
        if (sessionId !== undefined) return { sessionId, snapshotId };
      }
      return undefined;
    },
    setHead: (sessionId, handId, snapshotId) =>
      put(subjects.snapshotHead(sessionId, handId), Buffer.from(snapshotId), true),
    async head(sessionId, handId) {
      const found = await read(subjects.snapshotHead(sessionId, handId));
      return found && Buffer.from(found).toString("utf8");
    },
    async forget(sessionId) {
      const filters = subjects.snapshotsOf(sessionId);
      await Promise.all(filters.map((filter) => purgeMessages(bus, { stream, filter, timeoutMs: PURGE_MS })));
    },
    close: () => reader.close(),
  };
}
