/**
 * The log of one session as one brain holds it: what is stored, what is pending on top of it, and under which epoch.
 * The only place that appends and reads on, so the fence and the expected position (H3) are kept here.
 */

import type { LivingState, NewEvent, State } from "@manyhands/core";
import { checkpointedTo, type EventDraft, emptyState, fold } from "@manyhands/core";
import { AppError, type Clock, type IdSource, toAppError } from "@manyhands/kit";
import { PendingFrame } from "./pending-frame.ts";
import { saveFold } from "./save-fold.ts";
import type { SessionLog, StoredEvent } from "./session-log.ts";
import type { SessionTail } from "./session-tail.ts";
import { isSameConversation } from "./steps.ts";
import type { WarmSession } from "./warm-sessions.ts";

/** Who holds it, and by what means. */
export interface HolderPorts {
  readonly log: SessionLog;
  readonly harness: { readonly kind: string; readonly version: string };
  readonly instanceId: string;
  readonly clock: Pick<Clock, "nowMs">;
  readonly newId: IdSource;
  /** After how many events the fold is saved in the log; 0 never. */
  readonly checkpointEvents: number;
  /** Called with each frame that was stored. */
  readonly onStored: (events: readonly NewEvent[]) => void;
}

/** One session in one brain. */
export class HeldSession {
  readonly id: string;
  private readonly ports: HolderPorts;
  private readonly pending: PendingFrame;
  /** The end of the log: from its beginning, or from a checkpoint on. */
  private events: StoredEvent[] = [];
  private state: State = emptyState;
  /** Epoch this brain holds; 0 until it has taken the session. */
  private held = 0;
  private hasRead = false;
  private fenced = false;
  private tail: SessionTail | undefined;
  /** Position after the newest checkpoint, or after the newest try to make one. */
  private savedTo = 0;

  constructor(id: string, ports: HolderPorts, warm?: WarmSession) {
    this.id = id;
    this.ports = ports;
    this.pending = new PendingFrame(() => ports.newId("sevt"));
    if (warm !== undefined) {
      this.events = warm.events;
      this.state = warm.state;
      this.tail = warm.tail;
      this.savedTo = warm.savedTo;
    }
  }

  /** True when a newer brain has taken it: write nothing more. */
  get isFenced(): boolean {
    return this.fenced;
  }

  /** The stored log from its beginning: what a conversation is rebuilt from. Reads what lies before a checkpoint once. */
  async wholeLog(): Promise<readonly StoredEvent[]> {
    const begin = this.events[0]?.position ?? 0;
    if (begin > 0) {
      const before = await this.ports.log.read(this.id, 0, begin);
      this.events = before.concat(this.events);
    }
    return this.events;
  }

  /** The fold of the stored log. */
  get storedState(): State {
    return this.state;
  }

  /** The epoch it holds, or the one it will take. */
  get epoch(): number {
    return this.held > 0 ? this.held : this.state.epoch + 1;
  }

  /** Number of events not stored yet. */
  get unstored(): number {
    return this.pending.size;
  }

  /** True when what is pending may be stored while the model is already being asked. */
  get mayOverlap(): boolean {
    return this.pending.mayOverlap;
  }

  /** True when a request that is on its way may be the one that is asked for now, though its announcement was not stored. */
  mayAdopt(start: NewEvent<"span.model_request_start">, asked: { contextPosition: number; purpose?: string }): boolean {
    if (start.purpose !== asked.purpose) return false;
    if (start.purpose !== undefined) return start.context_position === asked.contextPosition;
    return this.mayOverlap && isSameConversation(this.events, start.context_position);
  }

  /** Arms the wake-up, then reads. A warm session has been listening all along and mostly knows the news already. */
  async listen(onNews: (head: number) => void): Promise<void> {
    if (this.tail !== undefined) {
      this.tail.onNews = onNews;
      if (!this.hear(this.tail.take())) await this.refresh();
      return;
    }
    const following = this.ports.log.follow(this.id).then((tail) => {
      this.tail = tail;
      tail.onNews = onNews;
    });
    const [followed, read] = await Promise.allSettled([following, this.refresh()]);
    if (followed.status === "rejected") throw followed.reason;
    if (read.status === "rejected") throw read.reason;
  }

  /** Takes in what was heard, and reads only what that leaves open below `head`. */
  async catchUp(head: number): Promise<void> {
    this.hear(this.tail?.take() ?? []);
    if (head > this.state.head) await this.refresh();
  }

  /** Nobody drives it for now; what is stored meanwhile is still heard. */
  unlisten(): void {
    if (this.tail !== undefined) this.tail.onNews = undefined;
  }

  /** The log and fold as of now, still listening, for the next turn; whoever takes it closes its tail. */
  handOver(): WarmSession | undefined {
    const { events, state, tail, savedTo } = this;
    this.tail = undefined;
    return tail && { events, state, tail, savedTo };
  }

  /** Stops listening, unless that was handed over. */
  close(): void {
    this.tail?.close();
  }

  /** The fold as it will be once everything pending is stored. */
  expected(): State {
    return this.pending.foldOnto(this.state, this.epoch, this.ports.clock.nowMs());
  }

  /** The expected fold of a session that can be driven. */
  living(): LivingState {
    const state = this.expected();
    if (state.phase === "unborn" || state.phase === "closed") {
      throw new AppError("internal", { reason: "NOT_LIVING", message: "an effect was decided for a closed session" });
    }
    return state;
  }

  /** Results of calls that were answered meanwhile, and losses already told, are not told again. */
  stillTrue(events: readonly (NewEvent | EventDraft)[]): (NewEvent | EventDraft)[] {
    const state = this.expected();
    const calls = state.phase === "acting" ? state.calls : [];
    const hand = "hand" in state ? state.hand?.id : undefined;
    return events.filter((event) => {
      if (event.type === "hand.lost") return event.hand_id === hand;
      if (event.type !== "agent.tool_result" && event.type !== "agent.mcp_tool_result") return true;
      const id = event.type === "agent.tool_result" ? event.tool_use_id : event.mcp_tool_use_id;
      return calls.some((call) => call.id === id && call.progress.at !== "answered");
    });
  }

  /** What happened outside: survives a lost race for the head. */
  learn(facts: readonly (NewEvent | EventDraft)[]): void {
    this.pending.add(facts, true);
  }

  /** What the brain decided: made anew after a lost race. The first decision takes the session. */
  decide(events: readonly (NewEvent | EventDraft)[]): void {
    if (this.held === 0 && !this.pending.has("brain.woken")) this.pending.add([this.taking()], false);
    this.pending.add(events, false);
  }

  /** Before any effect the session is this brain's: its epoch is what callees check (H4). */
  takeAndFlush(): Promise<boolean> {
    this.decide([]);
    return this.flush();
  }

  /** Stores everything pending; false when the head had moved, so that it must be decided again (H3). */
  async flush(): Promise<boolean> {
    while (this.pending.size > 0) {
      const events = this.pending.next();
      const { epoch } = this;
      const frame = { sessionId: this.id, events, expectedPosition: this.state.head, epoch };
      try {
        const stored = await this.ports.log.append(frame);
        this.pending.stored(events.length);
        this.events.push(...stored);
        this.state = fold(stored, this.state);
        this.held = epoch;
      } catch (error) {
        await this.lostRace(toAppError(error));
        return false;
      }
      this.ports.onStored(events);
    }
    return true;
  }

  /** Reads on. A newer brain's taking after this one's first look means: stop, without a word. */
  async refresh(): Promise<void> {
    if (!this.hasRead && this.state.head === 0) return await this.open();
    this.take(await this.ports.log.read(this.id, this.state.head), this.epoch);
  }

  /** The first look: the fold from the newest checkpoint on, whatever the length of the log. */
  private async open(): Promise<void> {
    const { events, state } = await this.ports.log.open(this.id);
    this.events = events;
    this.state = state;
    this.savedTo = checkpointedTo(events, 0);
    this.hasRead = true;
  }

  /** True when it is time to save the fold: never with something unstored, nor before this brain has taken the session. */
  get isCheckpointDue(): boolean {
    const { checkpointEvents: every } = this.ports;
    if (every === 0 || this.held === 0 || this.pending.size > 0 || this.fenced) return false;
    return this.state.head - this.savedTo >= every;
  }

  /** Saves the fold in the log. Never the truth: when it cannot be stored, the session goes on without it. */
  async checkpoint(): Promise<void> {
    const { state, held: epoch } = this;
    this.savedTo = state.head; // also a failed try counts, so that there are never more than one per so many events
    const result = await saveFold(this.ports, { sessionId: this.id, state, epoch });
    if (result === "fenced") this.fenced = true;
    else this.take(result, epoch);
  }

  /**
   * Takes in what was heard on the tail. False when that brought nothing new or leaves a hole: then read on. Never while
   * an append is on its way: its own frame may be among what was heard.
   */
  private hear(heard: readonly StoredEvent[]): boolean {
    const news = heard.filter((event) => event.position >= this.state.head);
    const joins = news.every((event, index) => event.position === this.state.head + index);
    if (news.length === 0 || !joins) return false;
    this.take(news, this.epoch);
    return true;
  }

  private take(news: readonly StoredEvent[], taking: number): void {
    const known = this.held > 0 ? this.held : this.state.epoch;
    const isMine = this.pending.dropStored(new Set(news.map((event) => event.id)));
    this.events.push(...news);
    this.state = fold(news, this.state);
    this.savedTo = checkpointedTo(news, this.savedTo);
    if (isMine) this.held = taking; // an append whose answer was lost
    if (this.hasRead && this.state.epoch > (isMine ? taking : known)) this.fenced = true;
    this.hasRead = true;
  }

  /** A callee knows of a newer epoch. */
  fence(): void {
    this.fenced = true;
  }

  /** Gives it back: what is known is stored, what is only decided is left to the next brain. */
  async release(maxAttempts: number): Promise<void> {
    for (let attempt = 0; attempt < maxAttempts && !this.fenced; attempt += 1) {
      this.pending.dropDecisions();
      if (this.held > 0) this.pending.add([{ type: "brain.released", reason: "drain" }], false);
      if (await this.flush()) return;
    }
  }

  private taking(): EventDraft<"brain.woken"> {
    const { harness, instanceId } = this.ports;
    const { kind, version } = harness;
    return {
      type: "brain.woken",
      epoch: this.epoch,
      harness_kind: kind,
      harness_version: version,
      instance_id: instanceId,
    };
  }

  private async lostRace(error: AppError): Promise<void> {
    if (error.reason === "SESSION_CLOSED") {
      this.pending.clear();
      await this.refresh();
      if (this.state.phase !== "closed") throw error;
      return;
    }
    if (error.kind === "fenced") this.fenced = true;
    if (error.kind !== "conflict") throw error;
    this.pending.dropDecisions();
    await this.refresh();
  }
}
