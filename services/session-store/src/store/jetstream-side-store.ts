/** What stands beside the log, in JetStream. */
import { type Bus, createDirectReader, purgeMessages, putMessage, readMessages, subjects } from "@manyhands/bus";
import { retry } from "@manyhands/kit";
import type { SideKey, SideStore } from "./side-store.ts";

const stream = "MH_BLOBS";
const timeoutMs = 5000;
const purgeTimeoutMs = 30_000;
const subjectsPerRead = 1024;
const writeAttempts = 4;

/** The store on a connected bus whose streams were applied; `close` ends its reads. */
export function createJetStreamSideStore(bus: Bus): SideStore & { close(): void } {
  const reader = createDirectReader(bus);
  return {
    async create(sessionId, { key, bytes }) {
      const message = {
        stream,
        subject: subjectOf(sessionId, key),
        payload: bytes,
        expectedSequence: 0,
        timeoutMs,
      } as const;
      // A try without an answer is repeated: whoever wins, the same bytes are there.
      await retry(() => putMessage(bus, message), { attempts: writeAttempts, initialMs: 50, maxMs: 500 });
    },
    async read(sessionId, keys) {
      const wanted = keys.map((key) => subjectOf(sessionId, key));
      const found = new Map<string, Uint8Array>();
      for (let at = 0; at < wanted.length; at += subjectsPerRead) {
        const part = wanted.slice(at, at + subjectsPerRead);
        for (const message of await readMessages(reader, { stream, subjects: part, timeoutMs })) {
          found.set(message.subject, message.data);
        }
      }
      return wanted.map((subject) => found.get(subject));
    },
    async purge(sessionId) {
      const filters = [subjects.blobsOf(sessionId), subjects.logIdsOf(sessionId)];
      const removed = await Promise.all(
        filters.map((filter) => purgeMessages(bus, { stream, filter, timeoutMs: purgeTimeoutMs })),
      );
      return removed.reduce((sum, count) => sum + count, 0);
    },
    close: () => reader.close(),
  };
}

function subjectOf(sessionId: string, key: SideKey): string {
  return key.kind === "blob"
    ? subjects.blob(sessionId, key.sha256, key.chunk)
    : subjects.logIds(sessionId, key.segment);
}
