/** Contents of files in JetStream. */
import { type Bus, createDirectReader, purgeMessages, putMessage, readMessages, subjects } from "@manyhands/bus";
import { retry } from "@manyhands/kit";
import type { ContentStore } from "./content-store.ts";

const stream = "MH_CONTENT";
const timeoutMs = 5000;
const purgeTimeoutMs = 30_000;
const writeAttempts = 4;

/** The store on a connected bus whose streams were applied; `close` ends its reads. */
export function createJetStreamContentStore(bus: Bus): ContentStore & { close(): void } {
  const reader = createDirectReader(bus);
  return {
    async put({ workspaceId, contentId }, piece, payload) {
      const subject = subjects.content(workspaceId, contentId, piece);
      const message = { stream, subject, payload, expectedSequence: 0, timeoutMs } as const;
      // A try without an answer is repeated: whoever wins, the same bytes are there.
      await retry(() => putMessage(bus, message), { attempts: writeAttempts, initialMs: 50, maxMs: 500 });
    },
    async read({ workspaceId, contentId }, from, count) {
      const wanted = Array.from({ length: count }, (_, index) =>
        subjects.content(workspaceId, contentId, from + index),
      );
      const found = await readMessages(reader, { stream, subjects: wanted, timeoutMs });
      const bytes = new Map(found.map((message) => [message.subject, message.data]));
      return wanted.map((subject) => bytes.get(subject));
    },
    async remove({ workspaceId, contentId }) {
      const filter = subjects.contentOf(workspaceId, contentId);
      await purgeMessages(bus, { stream, filter, timeoutMs: purgeTimeoutMs });
    },
    close: () => reader.close(),
  };
}

/** Removes an entry of the index of files for good; a deletion alone would leave a mark for each. */
export function filePurge(bus: Bus): (key: string) => Promise<void> {
  return async (key) => {
    const filter = `$KV.MH_WORKSPACE_FILES.${key}`;
    await purgeMessages(bus, { stream: "KV_MH_WORKSPACE_FILES", filter, timeoutMs: purgeTimeoutMs });
  };
}
