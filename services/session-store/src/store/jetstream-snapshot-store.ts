/**
 * Snapshots in JetStream. Pieces of a new generation are written beside those of the old one; then the head is moved
 * to it by compare-and-swap, which is what makes it count; then everything older goes. A crash anywhere leaves a whole
 * old or a whole new one, and at worst pieces that the next save removes.
 */
import { createHash } from "node:crypto";
import {
  type Bus,
  createDirectReader,
  purgeMessages,
  putMessage,
  readMessages,
  type StreamFacts,
  streamFacts,
  subjects,
} from "@manyhands/bus";
import { newId } from "@manyhands/kit";
import type { SnapshotMark, SnapshotStore, StoredSnapshot } from "./snapshot-store.ts";

const stream = "MH_INDEX";
const timeoutMs = 10_000;
const piecesPerRead = 32;
const maxPieces = 10_000;

interface Head extends SnapshotMark {
  readonly generation: string;
  readonly pieces: number;
  /** SHA-256 over all pieces, hex. */
  readonly sha256: string;
  /** When the log was made of which this is. */
  readonly log: string;
}

/** Snapshots of a projection of the log; `close` ends its reads. */
export function createJetStreamSnapshotStore(bus: Bus, projection: string): SnapshotStore & { close(): void } {
  const reader = createDirectReader(bus);
  const subject = (part: string) => subjects.index(projection, part);
  const readHead = async () => {
    const [message] = await readMessages(reader, { stream, subjects: [subject("head")], timeoutMs });
    return message === undefined ? undefined : { sequence: message.sequence, head: parseHead(message.data) };
  };
  return {
    async load() {
      const head = (await readHead())?.head;
      if (head === undefined || !isOf(await streamFacts(bus, "MH_LOG", timeoutMs), head)) return undefined;
      const pieces: Uint8Array[] = [];
      for (let first = 0; first < head.pieces; first += piecesPerRead) {
        const count = Math.min(piecesPerRead, head.pieces - first);
        const wanted = Array.from({ length: count }, (_, n) => subject(`${head.generation}_${first + n}`));
        const found = await readMessages(reader, { stream, subjects: wanted, timeoutMs });
        const bySubject = new Map(found.map((message) => [message.subject, message.data]));
        pieces.push(...wanted.flatMap((one) => bySubject.get(one) ?? []));
      }
      return pieces.length === head.pieces && hashOf(pieces) === head.sha256 ? snapshotOf(head, pieces) : undefined;
    },
    async save(mark, pieces, isWorth) {
      const before = await readHead();
      const log = await streamFacts(bus, "MH_LOG", timeoutMs);
      if (!isWorth(isOf(log, before?.head) ? before?.head : undefined)) return "superseded";
      const generation = newId("gen");
      const hash = createHash("sha256");
      let [count, first] = [0, 0];
      for await (const payload of pieces) {
        if (count >= maxPieces) throw new RangeError(`a snapshot of more than ${maxPieces} pieces`);
        const put = await putMessage(bus, { stream, subject: subject(`${generation}_${count}`), payload, timeoutMs });
        if (put.kind === "stored" && count === 0) first = put.sequence;
        hash.update(payload);
        count += 1;
      }
      const head: Head = { ...mark, generation, pieces: count, sha256: hash.digest("hex"), log: log.created };
      const payload = Buffer.from(JSON.stringify(head));
      const expectedSequence = before?.sequence ?? 0;
      const put = await putMessage(bus, { stream, subject: subject("head"), payload, expectedSequence, timeoutMs });
      if (put.kind === "moved") return "superseded"; // the winner's next save removes these pieces
      // Whoever began before this generation loses the swap, so nothing older is needed by anyone.
      const filter = subjects.indexOf(projection);
      await purgeMessages(bus, { stream, filter, belowSequence: first === 0 ? put.sequence : first, timeoutMs });
      return "saved";
    },
    close: () => reader.close(),
  };
}

/** A log that was made anew, or lost its end, is another one. */
function isOf(log: StreamFacts, head: Head | undefined): boolean {
  return head !== undefined && log.created === head.log && log.lastSequence >= head.sequence;
}

function hashOf(pieces: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}

function snapshotOf({ sequence, version }: Head, pieces: readonly Uint8Array[]): StoredSnapshot {
  return { sequence, version, pieces };
}

function parseHead(bytes: Uint8Array): Head | undefined {
  try {
    const head = JSON.parse(Buffer.from(bytes).toString("utf8")) as Partial<Head>; // each field is checked below
    const { generation, pieces, sha256, log, sequence, version } = head;
    const texts = [generation, sha256, log, version].every((text) => typeof text === "string");
    const isCount = (n: unknown) => typeof n === "number" && Number.isSafeInteger(n) && n >= 0;
    return texts && isCount(pieces) && isCount(sequence) && (pieces ?? 0) <= maxPieces ? (head as Head) : undefined;
  } catch {
    return undefined;
  }
}
