/** Makes the bytes of the next frame of a session. */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { SessionHeader } from "@manyhands/core";
import { encodeMessage, newId } from "@manyhands/kit";
import { type Event, type Frame, FrameSchema } from "@manyhands/protocol";
import type { FrameToAppend } from "../store/event-store.ts";
import { tooLarge } from "./errors.ts";
import { foldFrame } from "./hot-session.ts";

/** Largest encoded frame in bytes. */
export const maxFrameBytes = 512 * 1024;

/** A frame ready to be stored. */
export interface BuiltFrame {
  readonly frame: Frame;
  /** Header after it. */
  readonly header: SessionHeader | undefined;
  readonly message: FrameToAppend;
}

/** Where the frame goes. */
export interface FramePlace {
  readonly sessionId: string;
  readonly header: SessionHeader | undefined;
  readonly nextFrame: number;
  readonly lastHash: Uint8Array;
}

/**
 * The frame with positions, times and epoch set on its events. Time never runs backwards within a session. Throws
 * TOO_LARGE over 512 KiB.
 */
export function buildFrame(
  place: FramePlace,
  events: readonly Event[],
  options: {
    readonly requestId: string;
    readonly epoch: number;
    readonly nowMs: number;
    readonly traceparent?: string;
  },
): BuiltFrame {
  const position = place.header?.head_position ?? 0;
  const at = timestampFromMs(Math.max(options.nowMs, place.header?.updated_at ?? 0));
  const epoch = BigInt(options.epoch);
  for (const [offset, event] of events.entries()) {
    event.position = BigInt(position + offset);
    event.createdAt = at;
    event.epoch = epoch;
  }
  const frame = create(FrameSchema); // its fields are set one by one: what `create` is given, it looks through once more
  frame.id = newId("frm");
  frame.requestId = options.requestId;
  frame.firstPosition = BigInt(position);
  frame.previousHash = place.lastHash;
  frame.events = [...events];
  const after = foldFrame(place.header, frame);
  frame.epoch = BigInt(after?.epoch ?? 0);
  const payload = encodeMessage(FrameSchema, frame);
  if (payload.length > maxFrameBytes)
    throw tooLarge("events", "the encoded frame in bytes", maxFrameBytes, payload.length);
  return {
    frame,
    header: after,
    message: {
      sessionId: place.sessionId,
      frame: place.nextFrame,
      payload,
      position,
      count: events.length,
      epoch: Number(frame.epoch),
      status: after?.status ?? "idle",
      ...(options.traceparent === undefined ? {} : { traceparent: options.traceparent }),
    },
  };
}
