/**
 * Decides what an append does, given what is known of the session. Pure. Order of the rungs matters: a repeat is
 * answered before any check, so that it gets its first answer even when the head or the epoch has moved on since.
 */

import { isClosed, type SessionHeader } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import type { Event } from "@manyhands/protocol";
import type { KnownIds } from "../ids/recall.ts";
import { fenced, positionConflict, sessionClosed } from "./errors.ts";
import type { HotSession } from "./hot-session.ts";

/** What a caller asks to append. */
export interface AppendRequest {
  readonly events: readonly Event[];
  readonly expectedPosition?: number;
  readonly requestId: string;
  readonly epoch: number;
  /** False when all ids were made here, so that it cannot be a repeat. */
  readonly mayRepeat?: boolean;
  /** True for the frame that deletes the session: a closed one takes it too. */
  readonly closes?: boolean;
}

/**
 * `answer`: the request was seen before; its frame holds the answer. `append`: store `fresh` (those of the events that
 * are not in the log). `refuse`: an error that stands however much newer the log is. `refresh`: an error that could
 * come from knowing too little; read on and plan again, and only then refuse.
 */
export type AppendPlan =
  | { readonly kind: "answerRequest"; readonly frame: number }
  | { readonly kind: "append"; readonly fresh: readonly Event[] }
  | { readonly kind: "refuse"; readonly error: AppError; readonly mayBeStale: boolean };

/** The plan. `header` is the session's as far as it is known, `known` the ids in its log. */
export function planAppend(
  hot: HotSession,
  header: SessionHeader,
  request: AppendRequest,
  known: KnownIds = hot.recent,
): AppendPlan {
  const repeated = request.requestId === "" ? undefined : known.frameOfRequest(request.requestId);
  if (repeated !== undefined) return { kind: "answerRequest", frame: repeated };
  const fresh =
    request.mayRepeat === false
      ? request.events
      : request.events.filter((event) => known.frameOfEvent(event.id) === undefined);
  if (fresh.length === 0) return { kind: "append", fresh };
  if (header.deleted) return refuse(AppError.notFound("session", hot.sessionId), false);
  if (isClosed(header) && request.closes !== true)
    return refuse(sessionClosed(hot.sessionId, header.status === "terminated" ? "terminated" : "archived"), false);
  return checkEpoch(header, request) ?? checkPosition(header, request) ?? { kind: "append", fresh };
}

function refuse(error: AppError, mayBeStale: boolean): AppendPlan {
  return { kind: "refuse", error, mayBeStale };
}

/** A frame with `brain.woken` takes the session with the next epoch; every other frame of a brain carries the newest. */
function checkEpoch(header: SessionHeader, request: AppendRequest): AppendPlan | undefined {
  const woken = request.events.flatMap((event) => (event.payload.case === "brainWoken" ? [event.payload.value] : []));
  if (woken.length === 0) {
    if (request.epoch === 0 || request.epoch === header.epoch) return undefined;
    return refuse(fenced(request.epoch, header.epoch), request.epoch > header.epoch);
  }
  const [first, ...more] = woken;
  if (more.length > 0 || first === undefined || Number(first.epoch) !== request.epoch) {
    return refuse(
      AppError.invalid([{ field: "epoch", description: "must be that of the only brain.woken of the frame" }]),
      false,
    );
  }
  if (request.epoch === header.epoch + 1) return undefined;
  return refuse(fenced(request.epoch, header.epoch), request.epoch > header.epoch);
}

function checkPosition(header: SessionHeader, request: AppendRequest): AppendPlan | undefined {
  const { expectedPosition } = request;
  if (expectedPosition === undefined || expectedPosition === header.head_position) return undefined;
  return refuse(positionConflict(expectedPosition, header.head_position), expectedPosition > header.head_position);
}
