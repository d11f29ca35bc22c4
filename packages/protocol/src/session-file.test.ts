import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createSessionFileReader,
  encodeSessionFileFrame,
  encodeSessionFileManifest,
  maxSessionFileRecordBytes,
  SessionFileError,
  type SessionFilePart,
  sessionFileVersion,
} from "./session-file.ts";

function fileOf(frames: readonly Uint8Array[], formatVersion = sessionFileVersion): Uint8Array {
  const manifest = encodeSessionFileManifest({ formatVersion, frames: BigInt(frames.length) });
  return Buffer.concat([manifest, ...frames.map(encodeSessionFileFrame)]);
}

function read(file: Uint8Array, pieceBytes = file.length + 1): SessionFilePart[] {
  const reader = createSessionFileReader();
  const parts: SessionFilePart[] = [];
  for (let at = 0; at < file.length; at += pieceBytes) parts.push(...reader.push(file.subarray(at, at + pieceBytes)));
  reader.end();
  return parts;
}

const frames = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 });

describe("session file", () => {
  it("gives back every frame's bytes, whatever the pieces it comes in", () => {
    fc.assert(
      fc.property(frames, fc.integer({ min: 1, max: 400 }), (list, pieceBytes) => {
        const [first, ...rest] = read(fileOf(list), pieceBytes);
        expect(first?.kind).toBe("manifest");
        expect(rest.map((part) => (part.kind === "frame" ? [part.number, Buffer.from(part.stored)] : []))).toEqual(
          list.map((stored, number) => [number, Buffer.from(stored)]),
        );
      }),
    );
  });

  it("never takes a file that is cut anywhere, and names the frame it is cut in", () => {
    const list = [new Uint8Array(10), new Uint8Array(200), new Uint8Array()];
    const file = fileOf(list);
    const sizes = list.map((stored) => encodeSessionFileFrame(stored).length);
    const frameAt = (missing: number, number = list.length - 1): number =>
      number > 0 && missing > (sizes[number] ?? 0) ? frameAt(missing - (sizes[number] ?? 0), number - 1) : number;
    for (let missing = 1; missing <= file.length; missing += 1) {
      const error = catchError(() => read(file.subarray(0, file.length - missing)));
      expect(error).toBeInstanceOf(SessionFileError);
      expect(error).toMatchObject({ frame: frameAt(missing) });
    }
  });

  it("ends in parts or a SessionFileError for any bytes, and keeps no more than a record", () => {
    fc.assert(
      fc.property(
        frames,
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
        (list, edits) => {
          const file = Buffer.from(fileOf(list));
          for (const [at, byte] of edits) file[at % file.length] = byte;
          const error = catchError(() => read(file));
          if (error !== undefined) expect(error).toBeInstanceOf(SessionFileError);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("refuses other versions, records that are too large, and more than the manifest says", () => {
    expect(() => read(fileOf([], 2))).toThrow(/format version 2, this reader knows 1/);
    const tooLarge = new Uint8Array(maxSessionFileRecordBytes + 1);
    expect(() => read(fileOf([tooLarge]))).toThrow(/the record of frame 0 would have \d+ bytes/);
    expect(() => read(Buffer.concat([fileOf([]), encodeSessionFileFrame(new Uint8Array(3))]))).toThrow(/more behind/);
    expect(() => read(fileOf([]).subarray(0, 5))).toThrow(/truncated/);
    expect(() => read(new TextEncoder().encode("{}"))).toThrow(/no session file/);
  });
});

function catchError(run: () => unknown): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}
