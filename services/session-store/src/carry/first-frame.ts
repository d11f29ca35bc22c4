/** Makes the first frame that a fork or an imported session writes itself. */
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { SessionHeader } from "@manyhands/core";
import { newId } from "@manyhands/kit";
import { type Event, EventSchema, FrameSchema, SessionForkedSchema } from "@manyhands/protocol";
import type { BuiltFrame } from "../log/build-frame.ts";
import { tooLarge } from "../log/errors.ts";
import { foldFrame } from "../log/hot-session.ts";
import type { ForkPoint } from "./fork-point.ts";

/** What goes on. */
export interface Origin {
  readonly sessionId: string;
  /** Position of the first event that is not shared. */
  readonly position: number;
  /** Where imported frames are kept; empty for a fork. */
  readonly carrierId: string;
  /** What the new session is made of. */
  readonly header: SessionHeader;
}

/** More than other frames may have, as it repeats events of one and adds its own; the server takes 1 MiB. */
const maxFirstFrameBytes = 960 * 1024;

const encoder = new TextEncoder();
const json = (value: unknown) => encoder.encode(JSON.stringify(value));

/** The frame, ready to be stored. Throws TOO_LARGE. */
export function buildFirstFrame(
  sessionId: string,
  origin: Origin,
  point: ForkPoint,
  options: { readonly requestId: string; readonly nowMs: number },
): BuiltFrame {
  const { header, position } = origin;
  const events = [...point.repeated, forkedEvent(origin, point.frames, Math.max(options.nowMs, header.updated_at))];
  const first = position - point.repeated.length;
  const frame = create(FrameSchema, {
    id: newId("frm"),
    requestId: options.requestId,
    firstPosition: BigInt(first),
    epoch: BigInt(header.epoch),
    previousHash: point.previousHash,
    events,
  });
  const payload = toBinary(FrameSchema, frame);
  if (payload.length > maxFirstFrameBytes) {
    throw tooLarge("at_position", "the encoded first frame in bytes", maxFirstFrameBytes, payload.length);
  }
  return {
    frame,
    header: foldFrame(undefined, frame),
    message: {
      sessionId,
      frame: point.frames,
      payload,
      position: first,
      count: events.length,
      epoch: header.epoch,
      status: "idle",
    },
  };
}

function forkedEvent({ sessionId, position, carrierId, header }: Origin, frames: number, atMs: number): Event {
  return create(EventSchema, {
    id: newId("sevt"),
    type: "session.forked",
    position: BigInt(position),
    createdAt: timestampFromMs(atMs),
    epoch: BigInt(header.epoch),
    payload: {
      case: "sessionForked",
      value: create(SessionForkedSchema, {
        originSessionId: sessionId,
        originPosition: BigInt(position),
        originFrames: BigInt(frames),
        carrierId,
        workspaceId: header.workspace_id,
        agentJson: json(header.agent),
        environmentJson: json(header.environment),
        title: header.title,
        metadata: header.metadata,
        resourcesJson: json(header.resources),
        vaultIds: header.vault_ids,
        harnessKind: header.harness_kind,
        budgetJson: json(header.budget),
      }),
    },
  });
}
