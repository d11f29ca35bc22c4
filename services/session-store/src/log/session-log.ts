/**
 * Appends to session logs. S1: an acknowledged frame is stored. S2: an append either is stored whole or not at all.
 * S3: positions are gapless, because a frame is only built on the head it was checked against and stored create-only.
 * S4: an older epoch is refused. S5: a request or event id seen before gets the first answer.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { needsBrain, type SessionHeader } from "@manyhands/core";
import { AppError, type Clock } from "@manyhands/kit";
import { type Event, EventSchema } from "@manyhands/protocol";
import type { Blobs } from "../blobs/blobs.ts";
import type { KnownIds, Recall } from "../ids/recall.ts";
import type { EventStore } from "../store/event-store.ts";
import { type BuiltFrame, buildFrame } from "./build-frame.ts";
import { idReused } from "./errors.ts";
import { absorb, createHotSession, decodeFrame, type HotSession, hashOf } from "./hot-session.ts";
import { type AppendRequest, planAppend } from "./plan-append.ts";
import type { SessionCache } from "./session-cache.ts";
import { storeFrame } from "./store-frame.ts";

/** What came of an append. */
export interface Appended {
  readonly events: readonly Event[];
  /** The stored frame whose events these are, all of them; absent when they were read back. */
  readonly payload?: Uint8Array;
  readonly headPosition: number;
  readonly header: SessionHeader;
  /** True when it was answered from the log. */
  readonly duplicate: boolean;
}

/** Bounds and context of one append. */
export interface AppendContext {
  /** When to give up, milliseconds since 1970. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly traceparent?: string;
  /**
   * Told of each frame that is on its way, before anybody knows whether it will be stored: for what can be made ready
   * while the disk works.
   */
  readonly onSent?: (frame: SentFrame) => void;
}

/** A frame on its way. */
export interface SentFrame {
  readonly payload: Uint8Array;
  /** Position after its last event. */
  readonly headPosition: number;
}

/** What an append needs. */
export interface SessionLogDeps {
  readonly store: EventStore;
  readonly cache: SessionCache;
  readonly recall: Recall;
  readonly blobs: Pick<Blobs, "keep">;
  readonly clock: Clock;
  /** Told after each stored frame, in no one's way. */
  onStored(stored: {
    sessionId: string;
    frame: number;
    shared?: number;
    header: SessionHeader;
    sequence?: number;
    wake: boolean;
    traceparent?: string;
  }): void;
}

/** Appends. */
export interface SessionLog {
  /** Writes frame 0. The same `requestId` answers with what is there; another session under the id is a conflict. */
  create(sessionId: string, request: AppendRequest, context: AppendContext): Promise<Appended>;
  /** Stores a first frame that was made elsewhere, as forks are. False when there is a frame already. */
  begin(built: BuiltFrame, context: AppendContext): Promise<boolean>;
  /** Appends one frame to an existing session. `guard` may refuse by the header, and is asked again when it moved. */
  append(
    sessionId: string,
    request: AppendRequest,
    context: AppendContext,
    guard?: (header: SessionHeader) => void,
  ): Promise<Appended>;
  /** Appends the frame that deletes a session: also to an archived or terminated one, and nothing when it is there. */
  remove(
    sessionId: string,
    request: AppendRequest,
    context: AppendContext,
    guard: (header: SessionHeader) => void,
  ): Promise<void>;
}

const maxRounds = 64;

/** The log over a store and a cache. */
export function createSessionLog(deps: SessionLogDeps): SessionLog {
  return {
    create: (sessionId, request, context) => createSession(deps, sessionId, request, context),
    async begin({ header, message }, { deadlineMs }) {
      const outcome = await storeFrame(deps.store, message, { deadlineMs, clock: deps.clock });
      if (outcome.kind === "lost") return false;
      const { sequence } = outcome;
      const { sessionId, frame } = message;
      const stored = { sessionId, frame, shared: frame, wake: false, ...(sequence === undefined ? {} : { sequence }) };
      if (header !== undefined) deps.onStored({ ...stored, header });
      return true;
    },
    async append(sessionId, request, context, guard) {
      const hot = await deps.cache.open(sessionId);
      if (hot.header !== undefined) guard?.(hot.header); // before anything is kept for a caller who may not
      const kept = { ...request, events: await deps.blobs.keep(sessionId, request.events) };
      return hot.appends.run(() => appendInTurn(deps, hot, kept, context, guard), context.signal);
    },
    async remove(sessionId, request, context, guard) {
      const hot = await deps.cache.open(sessionId);
      const remove = () => appendInTurn(deps, hot, { ...request, closes: true }, context, guard);
      await hot.appends.run(remove, context.signal);
    },
  };
}

/** Plans, stores, and plans again on what was read whenever another writer was faster. */
async function appendInTurn(
  deps: SessionLogDeps,
  hot: HotSession,
  request: AppendRequest,
  context: AppendContext,
  guard: (header: SessionHeader) => void = () => undefined,
): Promise<Appended> {
  let fresh = false;
  for (let round = 0; round < maxRounds; round += 1) {
    context.signal.throwIfAborted();
    const known = await deps.recall.idsFor(hot, request);
    const header = hot.header;
    if (header === undefined) throw AppError.notFound("session", hot.sessionId);
    guard(header);
    const plan = planAppend(hot, header, request, known);
    if (plan.kind === "answerRequest") return answer(hot, header, request, await eventsOf(deps, hot, plan.frame));
    if (plan.kind === "refuse") {
      if (!plan.mayBeStale || fresh) throw plan.error;
      await deps.cache.catchUp(hot);
      fresh = true;
      continue;
    }
    if (plan.fresh.length === 0) return answerByIds(deps, hot, header, request, known);
    const payload = await storeNext(deps, hot, plan.fresh, request, context);
    if (payload !== undefined) {
      if (plan.fresh.length === request.events.length) return appended(hot, plan.fresh, payload);
      return { ...(await answerByIds(deps, hot, header, request, known)), duplicate: false };
    }
    await deps.cache.catchUp(hot);
    fresh = true;
  }
  throw AppError.exhausted("CONTENDED", `other writers won ${maxRounds} times in a row`, 50);
}

/** The stored bytes when our frame is the next one now, undefined when another's is. */
async function storeNext(
  deps: SessionLogDeps,
  hot: HotSession,
  events: readonly Event[],
  request: AppendRequest,
  context: AppendContext,
): Promise<Uint8Array | undefined> {
  const { traceparent, onSent } = context;
  const built = buildFrame(hot, events, {
    requestId: request.requestId,
    epoch: request.epoch,
    nowMs: deps.clock.nowMs(),
    ...(traceparent === undefined ? {} : { traceparent }),
  });
  const storing = storeFrame(deps.store, built.message, { deadlineMs: context.deadlineMs, clock: deps.clock });
  // A turn later the frame is on its way, and nobody waits for what is made while the disk works.
  const { payload, position, count } = built.message;
  const making = Promise.resolve().then(() => {
    onSent?.({ payload, headPosition: position + count });
    return hashOf(payload);
  });
  const outcome = await storing;
  if (outcome.kind === "lost") return undefined;
  const { sequence = 0 } = outcome;
  absorb(hot, { ...built.message, sequence }, { ...built, hash: await making });
  deps.recall.stored(hot);
  if (hot.header !== undefined) {
    deps.onStored({
      sessionId: hot.sessionId,
      frame: built.message.frame,
      ...(built.message.frame === 0 ? { shared: 0 } : {}),
      header: hot.header,
      wake: events.some((event) => needsBrain(event.type)),
      ...(sequence === 0 ? {} : { sequence }),
      ...(traceparent === undefined ? {} : { traceparent }),
    });
  }
  return built.message.payload;
}

function appended(hot: HotSession, events: readonly Event[], payload: Uint8Array): Appended {
  const { header } = hot;
  if (header === undefined) throw AppError.notFound("session", hot.sessionId);
  return { events, payload, headPosition: header.head_position, header, duplicate: false };
}

/** Answers a repeat, after checking that it is one: same number of events, each of the same content. */
function answer(hot: HotSession, header: SessionHeader, request: AppendRequest, stored: readonly Event[]): Appended {
  const same =
    stored.length === request.events.length &&
    stored.every((event, index) => sameContent(event, request.events[index]));
  if (!same) throw idReused("request_id", request.requestId);
  return { events: stored, headPosition: hot.header?.head_position ?? header.head_position, header, duplicate: true };
}

/** The stored events with the ids of the request, in its order. */
async function answerByIds(
  deps: SessionLogDeps,
  hot: HotSession,
  header: SessionHeader,
  request: AppendRequest,
  known: KnownIds,
): Promise<Appended> {
  const numbers = new Set(request.events.flatMap((event) => known.frameOfEvent(event.id) ?? []));
  const lists = await Promise.all([...numbers].map((number) => eventsOf(deps, hot, number)));
  const byId = new Map(lists.flat().map((event) => [event.id, event]));
  const events = request.events.map((wanted) => {
    const there = byId.get(wanted.id);
    if (there === undefined || !sameContent(there, wanted)) throw idReused("events.id", wanted.id);
    return there;
  });
  return { events, headPosition: hot.header?.head_position ?? header.head_position, header, duplicate: true };
}

async function eventsOf(deps: SessionLogDeps, hot: HotSession, frame: number): Promise<readonly Event[]> {
  const [stored] = await deps.store.read(hot.sessionId, [frame]);
  if (stored === undefined) throw AppError.unavailable("UNAVAILABLE", "the first answer cannot be read right now");
  return decodeFrame(stored).events;
}

/** True when both say the same, whatever the log added. */
function sameContent(a: Event, b: Event | undefined): boolean {
  if (b === undefined || a.type !== b.type) return false;
  return Buffer.compare(contentOf(a), contentOf(b)) === 0;
}

function contentOf(event: Event): Uint8Array {
  const { type, payload, sessionThreadId, blobs } = event;
  return toBinary(EventSchema, create(EventSchema, { type, payload, sessionThreadId, blobs }));
}

async function createSession(
  deps: SessionLogDeps,
  sessionId: string,
  request: AppendRequest,
  context: AppendContext,
): Promise<Appended> {
  const hot = createHotSession(sessionId);
  const exists = await deps.store.exists(sessionId);
  const payload = exists ? undefined : await storeNext(deps, hot, request.events, request, context);
  if (payload !== undefined) {
    deps.cache.put(hot);
    return appended(hot, request.events, payload);
  }
  // Something is stored under this id: the same request, another one, or the tombstone of a deleted session.
  const [first] = await deps.store.read(sessionId, [0]);
  if (first === undefined)
    throw AppError.conflict("ID_REUSED", `session_id: ${sessionId} belonged to a deleted session`);
  const frame = decodeFrame(first);
  if (request.requestId === "" || frame.requestId !== request.requestId) throw idReused("session_id", sessionId);
  const current = await deps.cache.current(sessionId);
  if (current.header === undefined) throw AppError.notFound("session", sessionId);
  return answer(current, current.header, request, frame.events);
}
