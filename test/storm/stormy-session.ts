/** One session of a storm: its turns, and what was acknowledged to us or seen stored while it ran. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { subscribeTail } from "@manyhands/bus";
import type { NewEvent, SessionEvent } from "@manyhands/core";
import { newId, retry } from "@manyhands/kit";
import { decodeEvent, encodeEvent, FrameSchema, GetEventsRequestSchema } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import type { Fleet } from "./fleet.ts";
import { stormText } from "./scenario.ts";

const workspaceId = "wrkspc_storm";
const sendAttempts = 40;
const pageSize = 1000;
const maxPages = 1_000;

/** What the tail told of one stored event. */
export interface SeenEvent {
  readonly id: string;
  readonly type: string;
  readonly at: number;
  /** Set for `brain.woken`. */
  readonly instanceId?: string;
}

/** A session that is driven turn after turn. */
export class StormySession {
  readonly id = newId("sesn");
  readonly name: string;
  /** Events seen stored, by position. */
  readonly seen = new Map<number, SeenEvent>();
  /** Ids of our own events whose storing was acknowledged. */
  readonly acknowledged: string[] = [];
  turns = 0;
  /** The brain that took it last, as far as heard. */
  brain = "";
  isIdle = true;
  isStuck = false;
  private readonly fleet: Fleet;
  private idles = 0;
  private unsubscribe: (() => void) | undefined;

  constructor(fleet: Fleet, name: string) {
    this.fleet = fleet;
    this.name = name;
  }

  /** Creates it, with our ears open before its first event is stored. */
  async begin(): Promise<void> {
    this.unsubscribe = await subscribeTail(this.fleet.bus, this.id, (frame) => this.hear(frame.payload));
    const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    const agent = {
      model: { id: "demo-1" },
      system: "You work in a storm.",
      tools: [{ type: "agent_toolset_20260401" }],
    };
    await persist(() =>
      this.fleet.sessions.createSession({
        workspaceId,
        sessionId: this.id,
        requestId: `req_${this.id}`,
        agentJson: json(agent),
        environmentJson: json({ config: { type: "cloud" } }),
      }),
    );
  }

  /** One turn: a message, then everything until the session is idle again. */
  async turn(steps: number, timeoutMs: number): Promise<void> {
    this.turns += 1;
    const before = this.idles;
    this.isIdle = false;
    const message: NewEvent<"user.message"> = {
      id: newId("sevt"),
      type: "user.message",
      content: [{ type: "text", text: stormText(this.turns, this.name, steps) }],
    };
    await persist(() =>
      this.fleet.sessions.emitEvents({ workspaceId, sessionId: this.id, events: [encodeEvent(message)] }),
    );
    this.acknowledged.push(message.id);
    try {
      await eventually(() => this.idles > before, { timeoutMs, everyMs: 20 });
    } catch {
      this.isStuck = true;
    }
    this.isIdle = true;
  }

  /** The whole log as stored. */
  async log(): Promise<SessionEvent[]> {
    const events: SessionEvent[] = [];
    const request = create(GetEventsRequestSchema, { sessionId: this.id, includePlatform: true, pageSize });
    for (let page = 0; page < maxPages; page += 1) {
      const answer = await persist(() => this.fleet.sessions.getEvents(request));
      events.push(...answer.events.map(decodeEvent).filter((one): one is SessionEvent => !("unknown" in one)));
      if (answer.nextPageToken === "") return events;
      request.pageToken = answer.nextPageToken;
    }
    throw new Error(`the log of ${this.id} has no end`);
  }

  close(): void {
    this.unsubscribe?.();
  }

  private hear(payload: Uint8Array): void {
    for (const event of fromBinary(FrameSchema, payload).events.map(decodeEvent)) {
      const { id, type, at, position } = event;
      const woken = event.type === "brain.woken" && "instance_id" in event ? { instanceId: event.instance_id } : {};
      this.seen.set(position, { id, type, at, ...woken });
      if (woken.instanceId !== undefined) this.brain = woken.instanceId;
      if (type === "session.status_idle") this.idles += 1;
    }
  }
}

/** Repeats while nothing is known: ids make that harmless. */
export function persist<T>(work: () => Promise<T>): Promise<T> {
  return retry(work, {
    attempts: sendAttempts,
    initialMs: 50,
    maxMs: 1_000,
    when: (error) => error.kind === "unavailable" || error.kind === "deadline" || error.kind === "exhausted",
  });
}
