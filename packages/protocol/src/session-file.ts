/**
 * The portable file of a session, in bytes: see `session_file.proto`. Pure; proving the hash chain is the caller's.
 * Bounds: a record is at most 2 MiB, so that a reader never holds more than that and one chunk.
 */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import {
  type SessionFileBlob,
  type SessionFileBlobSchema,
  type SessionFileManifest,
  type SessionFileManifestSchema,
  SessionFileRecordSchema,
} from "./gen/manyhands/session/v1/session_file_pb.ts";

/** The version that this code writes and reads. */
export const sessionFileVersion = 1;

/** Largest record in bytes. */
export const maxSessionFileRecordBytes = 2 * 1024 * 1024;

const firstLine = new TextEncoder().encode("manyhands.session/1\n");
const maxLengthBytes = 5;

/** The file breaks a rule. `frame` is the number of the first frame that is bad or missing. */
export class SessionFileError extends Error {
  readonly frame: number;
  constructor(frame: number, problem: string) {
    super(problem);
    this.name = "SessionFileError";
    this.frame = frame;
  }
}

/** The beginning of a file. */
export function encodeSessionFileManifest(manifest: MessageInitShape<typeof SessionFileManifestSchema>): Uint8Array {
  const record = create(SessionFileRecordSchema, { record: { case: "manifest", value: manifest } });
  const bytes = delimited(toBinary(SessionFileRecordSchema, record));
  const out = new Uint8Array(firstLine.length + bytes.length);
  out.set(firstLine);
  out.set(bytes, firstLine.length);
  return out;
}

/** One frame's stored bytes as they stand in the file. */
export function encodeSessionFileFrame(stored: Uint8Array): Uint8Array {
  return delimited(
    toBinary(SessionFileRecordSchema, create(SessionFileRecordSchema, { record: { case: "frame", value: stored } })),
  );
}

/** A piece of a big output as it stands in the file. */
export function encodeSessionFileBlob(blob: MessageInitShape<typeof SessionFileBlobSchema>): Uint8Array {
  const record = create(SessionFileRecordSchema, { record: { case: "blob", value: blob } });
  return delimited(toBinary(SessionFileRecordSchema, record));
}

function delimited(record: Uint8Array): Uint8Array {
  return new BinaryWriter().bytes(record).finish();
}

/** What a reader finds. */
export type SessionFilePart =
  | { readonly kind: "manifest"; readonly manifest: SessionFileManifest }
  | { readonly kind: "frame"; readonly number: number; readonly stored: Uint8Array }
  | { readonly kind: "blob"; readonly blob: SessionFileBlob };

/** Reads a file that comes in pieces of any size. */
export interface SessionFileReader {
  /** The parts that are complete with this piece. Throws SessionFileError. */
  push(piece: Uint8Array): SessionFilePart[];
  /** Says that no more comes. Throws SessionFileError when something is missing. */
  end(): void;
}

/** A reader at the beginning of a file. */
export function createSessionFileReader(): SessionFileReader {
  let rest: Uint8Array = new Uint8Array();
  let manifest: SessionFileManifest | undefined;
  let isBegun = false;
  let frames = 0;

  const begin = (): boolean => {
    const length = Math.min(rest.length, firstLine.length);
    if (!rest.subarray(0, length).every((byte, at) => byte === firstLine[at])) {
      throw new SessionFileError(0, "this is no session file of version 1: its first line is another");
    }
    if (length < firstLine.length) return false;
    rest = rest.subarray(length);
    return true;
  };

  const take = (record: Uint8Array): SessionFilePart => {
    const decoded = decodeRecord(record, frames);
    if (manifest === undefined) {
      if (decoded.case !== "manifest") throw new SessionFileError(0, "the file does not begin with a manifest");
      manifest = checkManifest(decoded.value);
      return { kind: "manifest", manifest };
    }
    if (decoded.case === "blob") return { kind: "blob", blob: decoded.value };
    if (decoded.case !== "frame") throw new SessionFileError(frames, `the record of frame ${frames} is no frame`);
    if (BigInt(frames) >= manifest.frames) {
      throw new SessionFileError(frames, `there is more behind the ${manifest.frames} frames of the manifest`);
    }
    frames += 1;
    return { kind: "frame", number: frames - 1, stored: decoded.value };
  };

  return {
    push(piece) {
      rest = joined(rest, piece);
      isBegun = isBegun || begin();
      const parts: SessionFilePart[] = [];
      while (isBegun) {
        const next = nextRecord(rest, frames);
        if (next === undefined) break;
        rest = rest.subarray(next.end);
        parts.push(take(next.record));
      }
      return parts;
    },
    end() {
      if (manifest === undefined)
        throw new SessionFileError(0, "the file is truncated: it ends before its manifest does");
      if (BigInt(frames) < manifest.frames || rest.length > 0) {
        throw new SessionFileError(frames, `the file is truncated: it ends in frame ${frames} of ${manifest.frames}`);
      }
    },
  };
}

function checkManifest(manifest: SessionFileManifest): SessionFileManifest {
  if (manifest.formatVersion === sessionFileVersion) return manifest;
  const problem = `the file has format version ${manifest.formatVersion}, this reader knows ${sessionFileVersion}`;
  throw new SessionFileError(0, problem);
}

function decodeRecord(bytes: Uint8Array, frame: number) {
  try {
    return fromBinary(SessionFileRecordSchema, bytes).record;
  } catch {
    throw new SessionFileError(frame, `the record of frame ${frame} cannot be read`);
  }
}

/** The next complete record; undefined while it is not. */
function nextRecord(
  bytes: Uint8Array,
  frame: number,
): { readonly record: Uint8Array; readonly end: number } | undefined {
  const lengthEnd = bytes.subarray(0, maxLengthBytes).findIndex((byte) => byte < 0x80) + 1;
  if (lengthEnd === 0) {
    if (bytes.length >= maxLengthBytes) throw new SessionFileError(frame, `the record of frame ${frame} has no length`);
    return undefined;
  }
  const length = new BinaryReader(bytes.subarray(0, lengthEnd)).uint32();
  if (length > maxSessionFileRecordBytes) {
    throw new SessionFileError(frame, `the record of frame ${frame} would have ${length} bytes`);
  }
  const end = lengthEnd + length;
  return bytes.length < end ? undefined : { record: bytes.subarray(lengthEnd, end), end };
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
