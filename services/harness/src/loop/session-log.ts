/** The log as the runner sees it: read on, append at an expected position, hear that something was stored. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { StoredFrame, Unsubscribe } from "@manyhands/bus";
import { fold, foldFrom, type NewEvent, type State } from "@manyhands/core";
import { AppError, type Clock, type IdSource, type RpcClient, retry, toAppError } from "@manyhands/kit";
import { decodeEvent, encodeEvent, GetEventsRequestSchema, type SessionService } from "@manyhands/protocol";
import { createSessionTail, type SessionTail, type StoredEvent } from "./session-tail.ts";

export type { StoredEvent };

/** One frame to append. */
export interface Append {
  readonly sessionId: string;
  readonly events: readonly NewEvent[];
  readonly expectedPosition: number;
  readonly epoch: number;
}

/** A log folded up to its head, and the events that were read for that. */
export interface OpenedLog {
  /** The log from a checkpoint, or from its beginning on. */
  readonly events: StoredEvent[];
  readonly state: State;
}

/** What the runner needs of the log. */
export interface SessionLog {
  /** All events from a position on, up to another one. AppError `notFound` when there is no such session. */
  read(sessionId: string, from: number, to?: number): Promise<StoredEvent[]>;
  /** What deciding needs of a session: its log folded, from its newest checkpoint on where that can be used. */
  open(sessionId: string): Promise<OpenedLog>;
  /** Appends one frame. AppError `conflict` when the head moved, `fenced` when a newer brain holds the session. */
  append(frame: Append): Promise<StoredEvent[]>;
  /** Hears what is stored from now on. Resolves once it is listening. */
  follow(sessionId: string): Promise<SessionTail>;
}

const pageSize = 1000;
const maxPages = 10_000;
const appendDeadlineMs = 10_000;
const appendAttempts = 12;

/** What session-store is asked. */
export type Sessions = Pick<RpcClient<typeof SessionService>, "getEvents" | "emitEvents">;

/** What it is made of. */
export interface SessionLogPorts {
  readonly sessions: Sessions;
  /** Calls back with each frame of a session after it was stored; some may be missed. */
  readonly subscribeTail: (sessionId: string, onFrame: (frame: StoredFrame) => void) => Promise<Unsubscribe>;
  readonly clock: Clock;
  readonly newId: IdSource;
}

/** The log behind session-store and the bus. */
export function createSessionLog(ports: SessionLogPorts): SessionLog {
  const { sessions } = ports;
  return {
    read: (sessionId, from, to) => readAll(sessions, sessionId, { case: "range", value: rangeOf(from, to) }, from),
    open: (sessionId) => open(sessions, sessionId),
    append: (frame) => append(ports, frame),
    follow: (sessionId) => createSessionTail((onFrame) => ports.subscribeTail(sessionId, onFrame)),
  };
}

/** One read at any length of the log; two when a checkpoint turns out to be of no use. */
async function open(sessions: Sessions, sessionId: string): Promise<OpenedLog> {
  const events = await readAll(sessions, sessionId, { case: "fromCheckpoint", value: true });
  const folded = foldFrom(events);
  if (folded !== undefined) return { events, state: folded.state };
  const whole = await readAll(sessions, sessionId, { case: "range", value: rangeOf(0) }, 0);
  return { events: whole, state: fold(whole) };
}

function rangeOf(from: number, to?: number) {
  return { from: BigInt(from), ...(to === undefined ? {} : { to: BigInt(to) }) };
}

type Slice = Extract<MessageInitShape<typeof GetEventsRequestSchema>["slice"], { case: "range" | "fromCheckpoint" }>;

async function readAll(sessions: Sessions, sessionId: string, slice: Slice, from?: number): Promise<StoredEvent[]> {
  const events: StoredEvent[] = [];
  const request = create(GetEventsRequestSchema, { sessionId, slice, includePlatform: true, pageSize });
  for (let page = 0; page < maxPages; page += 1) {
    const answer = await sessions.getEvents(request);
    for (const event of answer.events) events.push(decodeEvent(event));
    if (answer.nextPageToken === "") return checkContiguous(events, from ?? events[0]?.position ?? 0);
    request.pageToken = answer.nextPageToken;
  }
  throw AppError.exhausted("SESSION_TOO_LONG", `session ${sessionId} has more than ${maxPages * pageSize} events`);
}

/** A hole would make the fold a fiction: stop and say so, never skip. */
function checkContiguous(events: StoredEvent[], from: number): StoredEvent[] {
  const hole = events.findIndex((event, index) => event.position !== from + index);
  if (hole < 0) return events;
  throw new AppError("internal", { reason: "LOG_DAMAGED", message: `the log has a hole at position ${from + hole}` });
}

/**
 * The same request id makes repeats harmless: session-store answers them from the log. Repeated while nothing is known
 * of the outcome; long enough for the bus to choose a new leader.
 */
async function append({ sessions, clock, newId }: SessionLogPorts, frame: Append): Promise<StoredEvent[]> {
  const request = {
    sessionId: frame.sessionId,
    events: frame.events.map(encodeEvent),
    expectedPosition: BigInt(frame.expectedPosition),
    epoch: BigInt(frame.epoch),
    requestId: newId("req"),
  };
  const answer = await retry(() => sessions.emitEvents(request, { deadlineMs: appendDeadlineMs }), {
    attempts: appendAttempts,
    initialMs: 50,
    maxMs: 2_000,
    when: (error) => error.kind === "unavailable" || error.kind === "deadline",
    clock,
  });
  const events = answer.events.map(decodeEvent);
  if (events.length === frame.events.length) return events;
  throw toAppError(new Error(`session-store answered ${events.length} events for ${frame.events.length}`));
}
