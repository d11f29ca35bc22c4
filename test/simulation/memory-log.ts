/**
 * What session-store promises of a log, in memory and at once: gapless positions, one frame or nothing, the expected
 * position, the newest epoch, repeats answered from the log. `memory-log.e2e.test.ts` holds it against the real one.
 */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError } from "@manyhands/kit";
import type { Event } from "@manyhands/protocol";

/** One append. */
export interface Emit {
  readonly sessionId: string;
  readonly events: readonly Event[];
  readonly expectedPosition?: bigint | undefined;
  readonly epoch: bigint;
  readonly requestId: string;
}

/** What came of it. */
export interface Emitted {
  readonly events: Event[];
  readonly headPosition: number;
  readonly duplicate: boolean;
}

/** A session's log. */
export interface MemorySession {
  readonly events: Event[];
  epoch: number;
  closed: string;
  /** First position and count of the frame that a request stored. */
  readonly requests: Map<string, readonly [number, number]>;
  readonly positions: Map<string, number>;
  /** Position of the newest checkpoint; 0 without one. */
  checkpoint: number;
}

const closing: Readonly<Record<string, string>> = {
  "session.archived": "archived",
  "session.deleted": "deleted",
  "session.status_terminated": "terminated",
};

/** Logs of sessions. */
export class MemoryLog {
  readonly sessions = new Map<string, MemorySession>();
  private readonly nowMs: () => number;

  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  session(id: string): MemorySession {
    const session = this.sessions.get(id);
    if (session === undefined) throw AppError.notFound("session", id);
    return session;
  }

  /** Stores the first frame. */
  create(id: string, events: readonly Event[]): Event[] {
    const made: MemorySession = {
      events: [],
      epoch: 0,
      closed: "",
      requests: new Map(),
      positions: new Map(),
      checkpoint: 0,
    };
    this.sessions.set(id, made);
    return this.store(made, events, 0, "");
  }

  /** Appends one frame, or answers as session-store would. */
  emit(request: Emit): Emitted {
    const session = this.session(request.sessionId);
    const head = () => session.events.length;
    const before = request.requestId === "" ? undefined : session.requests.get(request.requestId);
    if (before !== undefined) {
      const [from, count] = before;
      const events = session.events.slice(from, from + count);
      const isSame =
        events.length === request.events.length && events.every((one, at) => one.type === request.events[at]?.type);
      if (!isSame) throw AppError.conflict("ID_REUSED", `request_id: ${request.requestId} was used before`);
      return { events, headPosition: head(), duplicate: true };
    }
    const fresh = request.events.filter((event) => !session.positions.has(event.id));
    if (fresh.length > 0) {
      if (session.closed !== "") {
        throw new AppError("conflict", { reason: "SESSION_CLOSED", message: `the session is ${session.closed}` });
      }
      checkEpoch(session, request);
      const { expectedPosition } = request;
      if (expectedPosition !== undefined && Number(expectedPosition) !== head()) {
        throw AppError.conflict("POSITION_CONFLICT", `expected ${expectedPosition}, the head is ${head()}`);
      }
      this.store(session, fresh, Number(request.epoch), request.requestId);
    }
    const events = request.events.flatMap((event) => session.events[session.positions.get(event.id) ?? -1] ?? []);
    return { events, headPosition: head(), duplicate: fresh.length === 0 };
  }

  private store(session: MemorySession, events: readonly Event[], epoch: number, requestId: string): Event[] {
    const from = session.events.length;
    const createdAt = timestampFromMs(this.nowMs());
    const stored = events.map((event, at) => ({
      ...event,
      position: BigInt(from + at),
      epoch: BigInt(epoch),
      createdAt,
    }));
    for (const event of stored) {
      session.positions.set(event.id, session.events.length);
      session.events.push(event);
      session.closed = closing[event.type] ?? session.closed;
      if (event.payload.case === "brainWoken") session.epoch = Number(event.payload.value.epoch);
      if (event.type === "context.checkpointed") session.checkpoint = Number(event.position);
    }
    if (requestId !== "") session.requests.set(requestId, [from, stored.length]);
    return stored;
  }
}

/** A frame with `brain.woken` takes the session with the next epoch; every other frame of a brain carries the newest. */
function checkEpoch(session: MemorySession, request: Emit): void {
  const woken = request.events.flatMap((event) => (event.payload.case === "brainWoken" ? [event.payload.value] : []));
  const epoch = Number(request.epoch);
  if (woken.length > 0 && (woken.length > 1 || Number(woken[0]?.epoch) !== epoch)) {
    throw AppError.invalid([{ field: "epoch", description: "must be that of the only brain.woken of the frame" }]);
  }
  const isRight = woken.length > 0 ? epoch === session.epoch + 1 : epoch === 0 || epoch === session.epoch;
  if (!isRight) throw AppError.fenced(`epoch: ${epoch} is not the newest`, { epoch: String(session.epoch) });
}
