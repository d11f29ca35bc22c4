/** Big outputs on their way out of a session into a file, and back beside the frames of a carrier. */
import { createHash } from "node:crypto";
import { type Event, encodeSessionFileBlob, type SessionFileBlob, SessionFileError } from "@manyhands/protocol";
import { type Blobs, blobChunk, chunkBytes } from "../blobs/blobs.ts";
import { logDamaged } from "../log/errors.ts";
import type { SideStore } from "../store/side-store.ts";

/** Records of the blobs that these events are the first to name; `seen` remembers which were written. */
export async function* blobRecords(
  blobs: Pick<Blobs, "range">,
  sessionId: string,
  frame: number,
  events: readonly Event[],
  seen: Set<string>,
): AsyncGenerator<Uint8Array> {
  for (const { sha256, size: total } of events.flatMap((event) => event.blobs)) {
    if (seen.has(sha256)) continue;
    seen.add(sha256);
    for (let offset = 0; offset < Number(total); offset += chunkBytes) {
      const range = await blobs.range(sessionId, sha256, offset, chunkBytes);
      if (range === undefined) throw logDamaged(sessionId, frame, `blob ${sha256} is missing`);
      yield encodeSessionFileBlob({ sha256, size: total, offset: BigInt(offset), data: range.data });
    }
  }
}

/** Takes blobs in: only those that were named, whole, and of the hash they are named by. */
export interface BlobIntake {
  /** Learns what the next frame names; everything named before must be there. */
  expect(frame: number, events: readonly Event[]): void;
  take(blob: SessionFileBlob): Promise<void>;
  /** Throws SessionFileError while something named is missing. */
  complete(): void;
}

/** An intake beside a carrier's frames. */
export function createBlobIntake(side: SideStore, carrierId: string): BlobIntake {
  const done = new Set<string>();
  const wanted = new Map<string, bigint>();
  let frame = 0;
  let current: { readonly sha256: string; readonly hash: ReturnType<typeof createHash>; offset: number } | undefined;

  const complete = () => {
    const [missing] = wanted.keys();
    if (missing !== undefined) throw new SessionFileError(frame, `blob ${missing} of frame ${frame} is missing or cut`);
  };

  return {
    expect(number, events) {
      complete();
      frame = number;
      for (const { sha256, size } of events.flatMap((event) => event.blobs))
        if (!done.has(sha256)) wanted.set(sha256, size);
    },
    async take({ sha256, size, offset, data }) {
      const isNext = current?.sha256 === sha256 ? Number(offset) === current.offset : offset === 0n;
      const end = Number(offset) + data.length;
      const isWhole = end === Number(size);
      if (
        wanted.get(sha256) !== size ||
        !isNext ||
        !(isWhole ? data.length <= chunkBytes : data.length === chunkBytes)
      ) {
        throw new SessionFileError(frame, `a piece of blob ${sha256} behind frame ${frame} is not the one due`);
      }
      if (current?.sha256 !== sha256) current = { sha256, hash: createHash("sha256"), offset: 0 };
      current.hash.update(data);
      current.offset = end;
      await side.create(carrierId, blobChunk(sha256, Number(size), Number(offset) / chunkBytes, data));
      if (!isWhole) return;
      if (current.hash.digest("hex") !== sha256) {
        throw new SessionFileError(frame, `blob ${sha256} of frame ${frame} has other content`);
      }
      current = undefined;
      wanted.delete(sha256);
      done.add(sha256);
    },
    complete,
  };
}
