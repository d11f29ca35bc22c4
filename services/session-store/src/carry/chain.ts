/**
 * Proves a history frame by frame: each continues the one before in number, position and hash, and says of itself what
 * it holds. Pure but for the hash. A frame is vouched for by the next one, which carries its hash; the last one by a
 * head hash known from elsewhere. That tells an altered frame from one with an altered link: when two neighbours do not
 * agree, the later one is good if it is vouched for itself.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { type Event, type Frame, FrameSchema } from "@manyhands/protocol";
import { hashOf } from "../log/hot-session.ts";

/** The first bad frame and what is wrong with it. */
export interface BadFrame {
  readonly frame: number;
  readonly problem: string;
}

/** How far a history is proved. */
export interface Proved {
  readonly frames: number;
  /** Position of the next event. */
  readonly position: number;
  /** SHA-256 of the last frame; empty before the first. */
  readonly hash: Uint8Array;
}

/** What is stored beside the bytes, where there is any. */
export interface FrameHeaders {
  readonly position: number;
  readonly count: number;
}

/** A proof under way. After the first bad frame it takes no more. */
export interface ChainProof {
  /** Takes the next frame; answers with it, or with what is bad: in it, or in the one before. */
  next(payload: Uint8Array, headers?: FrameHeaders): { readonly frame: Frame } | { readonly bad: BadFrame };
  /** What is bad at the end, given the head hash if it is known. */
  end(headHash?: Uint8Array): BadFrame | undefined;
  /** Good so far. */
  proved(): Proved;
}

const maxEvents = 64;

/** A proof that begins at frame 0. */
export function createChainProof(): ChainProof {
  let good: Proved = { frames: 0, position: 0, hash: new Uint8Array() };
  /** A frame that fits in all but the hash it carries. */
  let doubtful: { readonly hash: Uint8Array; readonly position: number } | undefined;
  let epoch = 0n;

  const blame = (isVouchedFor: boolean): BadFrame =>
    isVouchedFor
      ? { frame: good.frames - 1, problem: `its bytes do not have the hash that frame ${good.frames} carries` }
      : { frame: good.frames, problem: "it does not carry the hash of the frame before" };

  return {
    next(payload, headers) {
      const frame = decode(payload);
      if (doubtful !== undefined) {
        return { bad: blame(frame !== undefined && same(frame.previousHash, doubtful.hash)) };
      }
      const number = good.frames;
      if (frame === undefined) return { bad: { frame: number, problem: "its bytes are no frame" } };
      const problem = problemOf(frame, number, good.position, headers);
      if (problem !== undefined) return { bad: { frame: number, problem } };
      if (frame.epoch < epoch) {
        return { bad: { frame: number, problem: `its epoch is ${frame.epoch}, that of the one before is ${epoch}` } };
      }
      const position = good.position + frame.events.length;
      if (!same(frame.previousHash, good.hash)) {
        doubtful = { hash: hashOf(payload), position };
        return number === 0 ? { bad: blame(false) } : { frame };
      }
      epoch = frame.epoch;
      good = { frames: number + 1, position, hash: hashOf(payload) };
      return { frame };
    },
    end(headHash) {
      if (doubtful !== undefined) return blame(headHash !== undefined && same(headHash, doubtful.hash));
      if (headHash === undefined || same(headHash, good.hash)) return undefined;
      return { frame: Math.max(0, good.frames - 1), problem: "its bytes do not have the hash known of the last frame" };
    },
    proved: () => good,
  };
}

function problemOf(frame: Frame, number: number, head: number, headers: FrameHeaders | undefined): string | undefined {
  const { events } = frame;
  if (events.length < 1 || events.length > maxEvents) return `it holds ${events.length} events`;
  if (Number(frame.firstPosition) !== head)
    return `it begins at ${frame.firstPosition}, the one before ends at ${head}`;
  const misplaced = events.findIndex((event, offset) => Number(event.position) !== head + offset);
  if (misplaced >= 0) return `event ${misplaced} has position ${events[misplaced]?.position}`;
  if (headers !== undefined && headers.position !== head) return `its header says position ${headers.position}`;
  if (headers !== undefined && headers.count !== events.length) return `its header says ${headers.count} events`;
  if (number === 0 && events[0]?.type !== "session.created") return "it does not begin with session.created";
  return events.map((event) => forkProblem(event, number)).find((problem) => problem !== undefined);
}

/** A fork's first event says where it stands; anything else would make other frames part of this history. */
function forkProblem({ payload, position }: Event, number: number): string | undefined {
  if (payload.case !== "sessionForked") return undefined;
  const { originFrames, originPosition } = payload.value;
  if (Number(originFrames) !== number) return `session.forked says that it stands in frame ${originFrames}`;
  return originPosition === position ? undefined : `session.forked says that it stands at position ${originPosition}`;
}

function decode(payload: Uint8Array): Frame | undefined {
  try {
    return fromBinary(FrameSchema, payload);
  } catch {
    return undefined;
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
