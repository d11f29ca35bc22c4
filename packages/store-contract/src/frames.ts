/** Frames as a store sees them: bytes with a place. */
import { create, toBinary } from "@bufbuild/protobuf";
import type { EventStore, FrameToAppend } from "@manyhands/bus";
import { FrameSchema } from "@manyhands/protocol";

/** How long a store may take to answer, in milliseconds. */
export const answerMs = 5_000;

/** A frame with one nameless event at the position of its number; `id` tells equal places apart. */
export function frame(sessionId: string, number: number, id = `${sessionId}/${number}`): FrameToAppend {
  const payload = toBinary(FrameSchema, create(FrameSchema, { id, firstPosition: BigInt(number) }));
  return { sessionId, frame: number, payload, position: number, count: 1, epoch: 0, status: "idle" };
}

/** True when both are the same bytes. */
export function isSame(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}

/** Numbers `[from, to)`. */
export function numbers(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, offset) => from + offset);
}

const maxTries = 50;

/**
 * Stores a frame for certain, as every writer must: unanswered, the same bytes are sent again; a frame that is there
 * already is ours only when its bytes are. True when ours is stored, false when another has the number.
 */
export async function settle(store: EventStore, one: FrameToAppend): Promise<boolean> {
  let wasSent = false;
  for (let attempt = 0; attempt < maxTries; attempt += 1) {
    const outcome = await store.append(one, answerMs);
    if (outcome.kind === "stored") return true;
    if (outcome.kind === "exists") {
      if (!wasSent && outcome.maybeOurs !== true) return false;
      const theirs = await store.readFromLeader(one.sessionId, one.frame, answerMs);
      if (theirs !== undefined) return isSame(theirs, one.payload);
    }
    wasSent ||= outcome.kind === "unknown";
  }
  throw new Error(`frame ${one.frame} of ${one.sessionId} was not settled in ${maxTries} tries`);
}

/** Appends one frame behind whatever is there, reading on after each lost race; answers its number. */
export async function appendNext(store: EventStore, sessionId: string, id: string, from = 0): Promise<number> {
  for (let number = from; number < from + 10_000; number += 1) {
    if (await settle(store, frame(sessionId, number, id))) return number;
  }
  throw new Error(`no number was free in ${sessionId}`);
}
