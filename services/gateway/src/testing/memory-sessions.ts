/** SessionService in memory: create, get, emit, slices by neighbourhood and tail, and a live watch with deltas. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { NewEvent } from "@manyhands/core";
import { AppError, type Implemented, implement, newId } from "@manyhands/kit";
import {
  type Delta,
  type Event,
  EventSchema,
  encodeEvent,
  type Session,
  SessionSchema,
  SessionService,
  SessionStatus,
  type WatchEventsResponseSchema,
} from "@manyhands/protocol";

/** The service, and what tests push into it. */
export type MemorySessions = {
  readonly service: Implemented;
  /** Appends events as the platform does. */
  emit(sessionId: string, events: readonly NewEvent[]): readonly Event[];
  /** Sends a delta to the live watchers. */
  delta(sessionId: string, delta: Delta): void;
  /** Breaks all live watches as a restart of the service would. */
  breakWatches(): void;
  /** Live watches now. */
  watchers(): number;
  /** Makes the next create or emit do its work and then fail as if its answer was lost. */
  loseNextAnswer(): void;
  events(sessionId: string): readonly Event[];
  /** Ids of all sessions. */
  ids(): readonly string[];
};

type Item = MessageInitShape<typeof WatchEventsResponseSchema>;
type Watcher = { push(item: Item): void; fail(error: AppError): void };
type Log = { session: Session; events: Event[]; watchers: Set<Watcher>; byRequest: Map<string, Event[]> };

/** No sessions yet. */
export function createMemorySessions(): MemorySessions {
  const logs = new Map<string, Log>();
  const createdBy = new Map<string, string>();
  let loseAnswer = false;
  const logOf = (sessionId: string, workspaceId = "") => {
    const log = logs.get(sessionId);
    if (!log || (workspaceId !== "" && log.session.workspaceId !== workspaceId)) {
      throw AppError.notFound("session", sessionId);
    }
    return log;
  };
  const append = (log: Log, events: readonly Event[]) => {
    const stored = events.map((event, index) =>
      create(EventSchema, {
        ...event,
        id: event.id || newId("sevt"),
        position: BigInt(log.events.length + index),
        createdAt: timestampFromMs(Date.now()),
      }),
    );
    log.events.push(...stored);
    log.session.headPosition = BigInt(log.events.length);
    for (const watcher of log.watchers) {
      for (const event of stored) watcher.push({ item: { case: "event", value: event } });
    }
    return stored;
  };

  const answerOrLose = () => {
    if (!loseAnswer) return;
    loseAnswer = false;
    throw AppError.unavailable("ANSWER_LOST", "the answer was lost");
  };

  const service = implement(SessionService, {
    createSession: async (request) => {
      const earlier = createdBy.get(request.requestId);
      if (earlier !== undefined) return { session: logOf(earlier).session };
      const at = timestampFromMs(Date.now());
      const { workspaceId, agentJson, environmentJson, resourcesJson, title, metadata, vaultIds } = request;
      const copied = { workspaceId, agentJson, environmentJson, resourcesJson, title, metadata, vaultIds };
      const session = create(SessionSchema, {
        ...copied,
        id: request.sessionId,
        status: SessionStatus.IDLE,
        createdAt: at,
        updatedAt: at,
      });
      const log: Log = { session, events: [], watchers: new Set(), byRequest: new Map() };
      logs.set(session.id, log);
      createdBy.set(request.requestId, session.id);
      append(log, request.initialEvents);
      answerOrLose();
      return { session };
    },
    getSession: async ({ sessionId, workspaceId }) => ({ session: logOf(sessionId, workspaceId).session }),
    emitEvents: async ({ sessionId, workspaceId, requestId, events }) => {
      const log = logOf(sessionId, workspaceId);
      const earlier = log.byRequest.get(requestId);
      const stored = earlier ?? append(log, events);
      if (requestId !== "") log.byRequest.set(requestId, stored);
      answerOrLose();
      return { events: stored, headPosition: BigInt(log.events.length), duplicate: earlier !== undefined };
    },
    getEvents: async ({ sessionId, workspaceId, slice }) => {
      const { events } = logOf(sessionId, workspaceId);
      if (slice.case === "last") return { events: events.slice(-slice.value) };
      if (slice.case !== "around") return { events };
      const { eventId } = slice.value;
      const found = events.filter((event) => event.id === eventId);
      if (found.length === 0) throw AppError.notFound("event", eventId);
      return { events: found };
    },
    watchEvents: async function* ({ sessionId, workspaceId, start }, { signal }) {
      const log = logOf(sessionId, workspaceId);
      const from = start.case === "fromPosition" ? Number(start.value) : log.events.length;
      const queue: Item[] = log.events.slice(from).map((event) => ({ item: { case: "event", value: event } }));
      queue.push({ item: { case: "caughtUp", value: { headPosition: BigInt(log.events.length) } } });
      yield* live(log, queue, signal);
    },
  });

  return {
    service,
    emit: (sessionId, events) => append(logOf(sessionId), events.map(encodeEvent)),
    delta(sessionId, delta) {
      for (const watcher of logOf(sessionId).watchers) watcher.push({ item: { case: "delta", value: delta } });
    },
    breakWatches() {
      const error = AppError.unavailable("SHUTTING_DOWN", "the service is shutting down");
      for (const log of logs.values()) for (const watcher of log.watchers) watcher.fail(error);
    },
    watchers: () => [...logs.values()].reduce((sum, log) => sum + log.watchers.size, 0),
    loseNextAnswer() {
      loseAnswer = true;
    },
    events: (sessionId) => logOf(sessionId).events,
    ids: () => [...logs.keys()],
  };
}

async function* live(log: Log, queue: Item[], signal: AbortSignal): AsyncGenerator<Item> {
  let wake: () => void = () => undefined;
  let failure: AppError | undefined;
  const watcher: Watcher = {
    push(item) {
      queue.push(item);
      wake();
    },
    fail(error) {
      failure = error;
      wake();
    },
  };
  log.watchers.add(watcher);
  signal.addEventListener("abort", () => wake(), { once: true });
  try {
    while (!signal.aborted) {
      const item = queue.shift();
      if (item !== undefined) yield item;
      else if (failure !== undefined) throw failure;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    log.watchers.delete(watcher);
  }
}
