/** A hand's files in as few looks as their sizes allow. */
import { AppError } from "@manyhands/kit";
import type { Hand } from "../drivers/driver.ts";
import { type ManifestEntry, parseBundle, parseManifest } from "../drivers/manifest.ts";

/** Entries of one hand; a hand with more has no snapshots. */
export const MAX_ENTRIES = 100_000;
/** Files of one look; the agent takes no more. */
const MAX_PATHS = 200;
const MAX_PATH_BYTES = 30_000;
/** Bytes of one look: below what the agent keeps of one output. */
const MAX_BUNDLE_BYTES = 3 * 1024 * 1024;

/** A file to read, with the size it had. */
export type Wanted = { readonly path: string; readonly sizeBytes: number };

/** Everything below the roots. Throws AppError `exhausted`/TOO_MANY_FILES. */
export async function readManifest(hand: Hand, roots: readonly string[]): Promise<ManifestEntry[]> {
  const { bytes } = await hand.look({ kind: "manifest", roots, maxEntries: MAX_ENTRIES });
  const entries = parseManifest(bytes);
  if (entries.length >= MAX_ENTRIES)
    throw AppError.exhausted("TOO_MANY_FILES", `the hand has more than ${MAX_ENTRIES} files`);
  return entries;
}

/** The bytes of each file, in order; undefined for one that cannot be read any more. */
export async function* readFiles(
  hand: Hand,
  files: readonly Wanted[],
): AsyncGenerator<[Wanted, Uint8Array | undefined]> {
  for (const batch of batches(files)) {
    const [first] = batch;
    if (first && first.sizeBytes > MAX_BUNDLE_BYTES) {
      yield [first, await readBig(hand, first)];
      continue;
    }
    const { bytes } = await hand.look({ kind: "bundle", paths: batch.map(({ path }) => path) });
    const read = parseBundle(bytes, batch.length);
    for (const [index, file] of batch.entries()) {
      const one = read[index];
      yield [file, one && one.errno === 0 ? one.bytes : undefined];
    }
  }
}

async function readBig(hand: Hand, { path, sizeBytes }: Wanted): Promise<Uint8Array | undefined> {
  const pieces: Uint8Array[] = [];
  for (let offset = 0; offset < sizeBytes; offset += MAX_BUNDLE_BYTES) {
    const { exitCode, bytes } = await hand.look({ kind: "read", path, offset, maxBytes: MAX_BUNDLE_BYTES });
    if (exitCode !== 0) return undefined;
    pieces.push(bytes);
    if (bytes.length < MAX_BUNDLE_BYTES) break;
  }
  return Buffer.concat(pieces);
}

function* batches(files: readonly Wanted[]): Generator<Wanted[]> {
  let batch: Wanted[] = [];
  let bytes = 0;
  let pathBytes = 0;
  for (const file of files) {
    const length = Buffer.byteLength(file.path) + 8;
    const isFull = bytes + file.sizeBytes > MAX_BUNDLE_BYTES || pathBytes + length > MAX_PATH_BYTES;
    if (batch.length > 0 && (isFull || batch.length >= MAX_PATHS)) {
      yield batch;
      batch = [];
      bytes = 0;
      pathBytes = 0;
    }
    batch.push(file);
    bytes += file.sizeBytes;
    pathBytes += length;
  }
  if (batch.length > 0) yield batch;
}
