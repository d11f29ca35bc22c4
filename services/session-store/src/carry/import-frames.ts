/**
 * Takes a session file in: proves it frame by frame and keeps its frames under the id of a carrier, which is no session
 * and is never listed or read by itself. What is not used in the end is removed; a crash on the way leaves a carrier
 * that nothing refers to.
 */
import type { SessionHeader } from "@manyhands/core";
import { AppError, newId } from "@manyhands/kit";
import { createSessionFileReader, type Frame, SessionFileError, type SessionFileManifest } from "@manyhands/protocol";
import { foldFrame } from "../log/hot-session.ts";
import type { EventStore } from "../store/event-store.ts";
import type { SideStore } from "../store/side-store.ts";
import { type BlobIntake, createBlobIntake } from "./carry-blobs.ts";
import { type BadFrame, createChainProof, type Proved } from "./chain.ts";

/** A file that is proved and kept. */
export interface Imported {
  readonly carrierId: string;
  readonly manifest: SessionFileManifest;
  /** Folded from the frames, not taken from the manifest. */
  readonly header: SessionHeader;
  readonly proved: Proved;
}

const appendTimeoutMs = 10_000;
/** Frames on their way to the store. Their order is that of the connection, so numbers stay ascending in the stream. */
const maxInFlight = 64;

/** Reads the file to its end. Throws FILE_DAMAGED, naming the first bad frame; nothing stays then. */
export async function importFrames(
  { store, side }: { readonly store: EventStore; readonly side: SideStore },
  pieces: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<Imported> {
  const carrierId = newId("carrier");
  const intake = createIntake(store, side, carrierId);
  try {
    const reader = createSessionFileReader();
    for await (const piece of pieces) {
      signal.throwIfAborted();
      for (const part of reader.push(piece)) {
        if (part.kind === "manifest") intake.manifest = part.manifest;
        else if (part.kind === "frame") await intake.take(part.stored);
        else await intake.blobs.take(part.blob);
      }
    }
    reader.end();
    return await intake.finish();
  } catch (error) {
    await intake.discard();
    if (error instanceof SessionFileError) throw fileDamaged({ frame: error.frame, problem: error.message });
    throw error;
  }
}

interface Intake {
  manifest: SessionFileManifest | undefined;
  readonly blobs: BlobIntake;
  take(stored: Uint8Array): Promise<void>;
  finish(): Promise<Imported>;
  discard(): Promise<void>;
}

function createIntake(store: EventStore, side: SideStore, carrierId: string): Intake {
  const blobs = createBlobIntake(side, carrierId);
  const proof = createChainProof();
  const inFlight: Promise<void>[] = [];
  let header: SessionHeader | undefined;
  let number = 0;

  const put = async (payload: Uint8Array, frame: Frame, at: number): Promise<void> => {
    const outcome = await store.append(
      {
        sessionId: carrierId,
        frame: at,
        payload,
        position: Number(frame.firstPosition),
        count: frame.events.length,
        epoch: Number(frame.epoch),
        status: "idle",
      },
      appendTimeoutMs,
    );
    if (outcome.kind === "stored") return;
    throw AppError.unavailable(
      "UNAVAILABLE",
      `frame ${at} could not be stored (${outcome.kind}); import the file again`,
    );
  };

  return {
    manifest: undefined,
    blobs,
    async take(stored) {
      const next = proof.next(stored);
      if ("bad" in next) throw fileDamaged(next.bad);
      blobs.expect(number, next.frame.events);
      header = foldFrame(header, next.frame);
      const putting = put(stored, next.frame, number);
      putting.catch(() => undefined); // awaited below, in order
      inFlight.push(putting);
      number += 1;
      if (inFlight.length >= maxInFlight) await inFlight.shift();
    },
    async finish() {
      const { manifest } = this;
      const bad = proof.end(manifest?.headHash);
      if (bad !== undefined) throw fileDamaged(bad);
      blobs.complete();
      await Promise.all(inFlight);
      const proved = proof.proved();
      if (manifest === undefined || header === undefined)
        throw fileDamaged({ frame: 0, problem: "it holds no frames" });
      if (BigInt(proved.position) !== manifest.events) {
        const problem = `the frames hold ${proved.position} events, the manifest says ${manifest.events}`;
        throw fileDamaged({ frame: proved.frames - 1, problem });
      }
      return { carrierId, manifest, header, proved };
    },
    async discard() {
      await Promise.allSettled(inFlight);
      if (number > 0) await purgeCarrier({ store, side }, carrierId);
    },
  };
}

/** Removes a carrier and everything beside it. Answers how many frames went. */
export async function purgeCarrier(
  { store, side }: { readonly store: EventStore; readonly side: SideStore },
  carrierId: string,
): Promise<number> {
  await side.purge(carrierId);
  return store.purge(carrierId, 0);
}

/** The file is refused. */
function fileDamaged({ frame, problem }: BadFrame): AppError {
  return new AppError("invalid", {
    reason: "FILE_DAMAGED",
    message: `chunk: the file is damaged at frame ${frame}: ${problem}`,
    details: {
      fieldViolations: [{ field: "chunk", description: `is damaged at frame ${frame}: ${problem}` }],
      metadata: { frame: String(frame) },
    },
  });
}
