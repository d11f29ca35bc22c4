/** The logs of all sessions as the world reaches them: stored, judged, folded, followed, and away for a while. */
import { create, toBinary } from "@bufbuild/protobuf";
import type { StoredFrame } from "@manyhands/bus";
import { emptyState, fold, type JsonObject, type NewEvent, type SessionEvent, type State } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import {
  decodeEvent,
  EmitEventsResponseSchema,
  type Event,
  encodeEvent,
  FrameSchema,
  GetEventsResponseSchema,
} from "@manyhands/protocol";
import { created } from "../../packages/core/src/testing/test-log.ts";
import { MemoryLog } from "./memory-log.ts";
import type { Stage } from "./stage.ts";
import type { WakeQueue } from "./wake-queue.ts";

type Ear = (frame: StoredFrame) => void;

/** Session-store as the others see it. */
export class SessionLogs {
  readonly ids: string[] = [];
  private readonly stage: Stage;
  private readonly wakes: WakeQueue;
  private readonly log: MemoryLog;
  private readonly tails = new Map<string, Set<Ear>>();
  private readonly states = new Map<string, State>();
  private readonly movedAt = new Map<string, number>();
  private goneUntilMs = 0;

  constructor(stage: Stage, wakes: WakeQueue) {
    this.stage = stage;
    this.wakes = wakes;
    this.log = new MemoryLog(() => stage.scheduler.nowMs);
  }

  create(id: string, agent: JsonObject): void {
    const draft = { ...created(agent), id: this.stage.newId("sevt") } as NewEvent<"session.created">;
    const events = this.log.create(id, [encodeEvent(draft)]);
    this.folded(id, decoded(events));
    this.ids.push(id);
  }

  /** Appends one frame, or answers as session-store would. */
  emit(request: Parameters<MemoryLog["emit"]>[0]) {
    this.mustBeThere(request.events.some((event) => event.type === "agent.tool_result"));
    const answer = this.log.emit(request);
    if (!answer.duplicate) this.afterStore(request.sessionId, answer.events);
    else if (answer.events.some((event) => event.type === "agent.tool_result")) this.stage.visited("CP18");
    return create(EmitEventsResponseSchema, {
      events: answer.events,
      headPosition: BigInt(answer.headPosition),
      duplicate: answer.duplicate,
    });
  }

  read(sessionId: string, from: number | "checkpoint", to: number | undefined) {
    this.mustBeThere(false);
    const { events, checkpoint } = this.log.session(sessionId);
    const first = from === "checkpoint" ? checkpoint : from;
    return create(GetEventsResponseSchema, { events: events.slice(first, to), nextPageToken: "" });
  }

  /** Follows what is stored; frames may be late, doubled or lost. Answers how to stop. */
  follow(sessionId: string, ear: Ear): () => void {
    const ears = this.tails.get(sessionId) ?? new Set();
    this.tails.set(sessionId, ears.add(ear));
    return () => void ears.delete(ear);
  }

  /** No leader until then. */
  loseLeader(untilMs: number): void {
    this.goneUntilMs = untilMs;
  }

  state(sessionId: string): State {
    return this.states.get(sessionId) ?? emptyState;
  }

  status(sessionId: string): string {
    const state = this.state(sessionId);
    return "status" in state ? state.status : state.phase;
  }

  /** Time since something was stored last. */
  quietMs(sessionId: string): number {
    return this.stage.scheduler.nowMs - (this.movedAt.get(sessionId) ?? 0);
  }

  /** All that is stored, as it is on the wire. */
  stored(sessionId: string): readonly Event[] {
    return this.log.session(sessionId).events;
  }

  events(sessionId: string): SessionEvent[] {
    return decoded(this.stored(sessionId));
  }

  epoch(sessionId: string): number {
    return this.log.session(sessionId).epoch;
  }

  private mustBeThere(isResult: boolean): void {
    if (this.stage.scheduler.nowMs >= this.goneUntilMs) return;
    if (isResult) this.stage.visited("CP30");
    throw AppError.unavailable("UNAVAILABLE", "no leader");
  }

  private afterStore(sessionId: string, events: readonly Event[]): void {
    const { scheduler, faults, note, visited } = this.stage;
    const known = decoded(events);
    for (const event of known) note(() => `${sessionId} ${event.position} e${event.epoch} ${describe(event)}`);
    this.folded(sessionId, known);
    this.movedAt.set(sessionId, scheduler.nowMs);
    if (known.some((event) => event.type.startsWith("user."))) {
      if (scheduler.chance(faults.hintLost)) visited("CP3");
      else this.wakes.publish(sessionId);
    }
    const ears = this.tails.get(sessionId);
    if (ears === undefined || ears.size === 0) return;
    const payload = toBinary(FrameSchema, create(FrameSchema, { events: [...events] }));
    const position = known[0]?.position ?? 0;
    const count = events.length;
    const frame: StoredFrame = { sessionId, frame: position, payload, position, count, sequence: position };
    for (const ear of ears) {
      if (scheduler.chance(faults.hintLost)) continue;
      scheduler.after(scheduler.between(0, 5), () => ear(frame));
      if (scheduler.chance(faults.twice)) scheduler.after(scheduler.between(0, 50), () => ear(frame));
    }
  }

  private folded(sessionId: string, events: readonly SessionEvent[]): void {
    this.stage.watch.stored(sessionId, events);
    this.states.set(sessionId, fold(events, this.states.get(sessionId)));
  }
}

function decoded(events: readonly Event[]): SessionEvent[] {
  return events.map(decodeEvent).filter((event): event is SessionEvent => !("unknown" in event));
}

function describe(event: SessionEvent): string {
  const { id, type, position: _, at: __, epoch: ___, ...rest } = event;
  return `${type} ${id} ${JSON.stringify(rest).slice(0, 160)}`;
}
