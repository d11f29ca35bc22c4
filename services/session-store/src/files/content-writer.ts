/** Cuts a stream of bytes into pieces and stores them as they come; holds a few pieces and never the whole. */
import { createHash } from "node:crypto";
import { AppError } from "@manyhands/kit";
import { type ContentName, type ContentStore, pieceBytes } from "./content-store.ts";

const writesAtOnce = 4;

/** What was written. */
export interface Written {
  readonly size: number;
  readonly sha256: string;
}

/** A writer of one content of at most `maxBytes`. */
export function createContentWriter(contents: Pick<ContentStore, "put">, name: ContentName, maxBytes: number) {
  const hash = createHash("sha256");
  const onTheWay = new Set<Promise<void>>();
  let rest: Uint8Array[] = [];
  let restBytes = 0;
  let size = 0;
  let pieces = 0;
  let failure: unknown;

  const store = async (bytes: Uint8Array) => {
    while (onTheWay.size >= writesAtOnce) await Promise.race(onTheWay);
    if (failure !== undefined) throw failure;
    const piece = pieces;
    pieces += 1;
    const writing = contents
      .put(name, piece, bytes)
      .catch((error: unknown) => {
        failure ??= error;
      })
      .finally(() => onTheWay.delete(writing));
    onTheWay.add(writing);
  };

  return {
    /** Takes the next bytes; resolves when more may come. Throws INVALID/TOO_LARGE beyond the limit. */
    async write(bytes: Uint8Array): Promise<void> {
      size += bytes.length;
      if (size > maxBytes) throw tooLarge(maxBytes);
      hash.update(bytes);
      rest.push(bytes);
      restBytes += bytes.length;
      if (restBytes < pieceBytes) return;
      const all = Buffer.concat(rest);
      let at = 0;
      for (; at + pieceBytes <= all.length; at += pieceBytes) await store(all.subarray(at, at + pieceBytes));
      rest = [all.subarray(at)];
      restBytes = all.length - at;
    },
    /** Resolves when everything is stored. */
    async end(): Promise<Written> {
      if (restBytes > 0) await store(Buffer.concat(rest));
      await Promise.all(onTheWay);
      if (failure !== undefined) throw failure;
      return { size, sha256: hash.digest("hex") };
    },
    /** Resolves when nothing is on its way any more. */
    async settled(): Promise<void> {
      await Promise.all(onTheWay);
    },
  };
}

function tooLarge(maxBytes: number): AppError {
  const message = `file: must have at most ${maxBytes} bytes`;
  return new AppError("invalid", { reason: "TOO_LARGE", message });
}
