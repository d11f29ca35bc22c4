/**
 * Writes long logs fast: real frames (positions, times, hash chain), published create-only and pipelined, without the
 * service in between. Only for a log that nobody else writes to.
 */
import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { appendFrame, type Bus } from "@manyhands/bus";
import { newId } from "@manyhands/kit";
import { FrameSchema } from "@manyhands/protocol";
import { agentMessage, sessionCreated } from "./events.ts";

/** A frame's bytes and what its headers say. */
export interface LoadedFrame {
  readonly payload: Uint8Array;
  readonly position: number;
  readonly count: number;
}

const inFlight = 512;
const timeoutMs = 30_000;

/** The frames of a session: `session.created` alone, then events in frames of the given sizes, over and over. */
export function buildFrames(totalEvents: number, sizes: readonly number[], textBytes: number): LoadedFrame[] {
  const frames: LoadedFrame[] = [];
  let previousHash: Uint8Array = new Uint8Array();
  let position = 0;
  while (position < totalEvents) {
    const size = position === 0 ? 1 : (sizes[(frames.length - 1) % sizes.length] ?? 1);
    const count = Math.min(size, totalEvents - position);
    const at = timestampFromMs(Date.now());
    const events = Array.from({ length: count }, (_, offset) => {
      const id = newId("sevt");
      const event = position === 0 ? sessionCreated(id) : agentMessage(textBytes, id);
      return Object.assign(event, { position: BigInt(position + offset), createdAt: at });
    });
    const frame = create(FrameSchema, { id: newId("frm"), firstPosition: BigInt(position), previousHash, events });
    const payload = toBinary(FrameSchema, frame);
    previousHash = createHash("sha256").update(payload).digest();
    frames.push({ payload, position, count });
    position += count;
  }
  return frames;
}

/** Stores frames of a session, the first under the number `first`; throws when one of them is not stored. */
export async function storeFrames(
  bus: Bus,
  sessionId: string,
  frames: readonly LoadedFrame[],
  first = 0,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < frames.length) {
      const number = first + next;
      const frame = frames[next++];
      if (frame === undefined) return;
      const outcome = await appendFrame(
        bus,
        { sessionId, frame: number, epoch: 0, status: "idle", ...frame },
        timeoutMs,
      );
      if (outcome.kind !== "stored") throw new Error(`frame ${number} of ${sessionId}: ${JSON.stringify(outcome)}`);
    }
  };
  // One connection keeps the order of sending, so that frame n is stored before n + 1 although nobody waits for it.
  await Promise.all(Array.from({ length: inFlight }, worker));
}
