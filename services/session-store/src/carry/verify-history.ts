/** Walks a stored history from frame 0, also through what is shared, in bounded reads. */
import { AppError } from "@manyhands/kit";
import type { Frame } from "@manyhands/protocol";
import { range } from "../log/session-cache.ts";
import type { EventStore, StoredFrame } from "../store/event-store.ts";
import { type BadFrame, createChainProof, type Proved } from "./chain.ts";

/** What to walk. */
export interface Walk {
  /** Frames that must be there. */
  readonly frames: number;
  /** Hash of the last of them, where it is known. */
  readonly headHash?: Uint8Array;
  readonly signal: AbortSignal;
}

/** What came of it. */
export interface Walked {
  readonly proved: Proved;
  readonly bad?: BadFrame;
}

const framesPerRead = 256;
const leaderTimeoutMs = 5000;

/** Reads and proves frame after frame; ends with what is proved and the first bad frame, if any. */
export async function* walkHistory(
  store: EventStore,
  sessionId: string,
  { frames, headHash, signal }: Walk,
): AsyncGenerator<{ readonly stored: StoredFrame; readonly frame: Frame }, Walked> {
  const proof = createChainProof();
  const found = (bad?: BadFrame): Walked => ({ proved: proof.proved(), ...(bad === undefined ? {} : { bad }) });
  for (let from = 0; from < frames; from += framesPerRead) {
    signal.throwIfAborted();
    const numbers = range(from, Math.min(frames, from + framesPerRead));
    const list = await store.read(sessionId, numbers);
    for (const [offset, number] of numbers.entries()) {
      const stored = list[offset];
      if (stored?.frame !== number) return found(proof.end() ?? (await missing(store, sessionId, number)));
      const next = proof.next(stored.payload, stored);
      if ("bad" in next) return found(next.bad);
      yield { stored, frame: next.frame };
    }
  }
  return found(proof.end(headHash));
}

async function missing(store: EventStore, sessionId: string, frame: number): Promise<BadFrame> {
  if ((await store.readFromLeader(sessionId, frame, leaderTimeoutMs)) === undefined) {
    return { frame, problem: "it is missing" };
  }
  throw AppError.unavailable("UNAVAILABLE", "a replica of the log lags behind");
}
