/**
 * Drives one session: read → fold → decide → perform → append, until there is nothing to do (invariants H1–H6 in the
 * core's decide.ts). Only this loop awaits; model requests, operations and provisioning are tasks that report into its
 * mailbox. What is decided is collected in a pending frame and stored before any effect that needs it; only the frame
 * that announces a model request may be stored while the request is already on its way.
 */
import {
  type Action,
  buildModelRequest,
  type Call,
  closedRequest,
  type EventDraft,
  emptyState,
  fold,
  type Limits,
  type LivingState,
  type NewEvent,
  resultDraft,
  type State,
  type View,
} from "@manyhands/core";
import { AppError, type Logger, newId, toAppError } from "@manyhands/kit";
import type { Pass } from "../fault-points.ts";
import type { Harness } from "../harness-kinds.ts";
import { createMailbox, type Message } from "./mailbox.ts";
import { PendingFrame } from "./pending-frame.ts";
import type { SessionLog, StoredEvent } from "./session-log.ts";
import type { Tasks } from "./tasks.ts";
import type { WarmSession } from "./warm-sessions.ts";

/** What the loop needs from outside. */
export interface RunnerPorts {
  readonly log: SessionLog;
  readonly harness: Harness;
  readonly limits: Limits;
  readonly instanceId: string;
  readonly now: () => number;
  readonly logger: Logger;
  readonly pass: Pass;
  /** Makes the tasks of one session; they report by `push`. */
  readonly createTasks: (sessionId: string, push: (message: Message) => void) => Tasks;
}

/** Why a runner stopped: nothing to do, another brain took over, handed back on a drain, or another kind's session. */
export type RunEnd = "rest" | "fenced" | "drained" | "otherKind";

/** How many steps in a row may be decided without waiting or storing anything. */
const maxIdleSteps = 1_000;
const releaseAttempts = 5;

/** One brain on one session. Use once. */
export class Runner {
  private readonly sessionId: string;
  private readonly ports: RunnerPorts;
  private readonly mailbox = createMailbox();
  private readonly pending = new PendingFrame(() => newId("sevt"));
  private readonly tasks: Tasks;
  private events: StoredEvent[] = [];
  private state: State = emptyState;
  /** Epoch this brain holds; 0 until it has taken the session. */
  private held = 0;
  private hasRead = false;
  private isFenced = false;
  private isDraining = false;
  private newsHead = 0;
  /** How often operations were sent that were proved not to have started, by id. */
  private readonly sends = new Map<string, number>();

  constructor(sessionId: string, ports: RunnerPorts, warm?: WarmSession) {
    this.sessionId = sessionId;
    this.ports = ports;
    this.tasks = ports.createTasks(sessionId, (message) => this.mailbox.push(message));
    if (warm !== undefined) {
      this.events = warm.events;
      this.state = warm.state;
    }
  }

  /** Asks for the session back at the next event boundary. */
  drain(): void {
    this.mailbox.push({ type: "drain" });
  }

  /** The log and fold as of the end, for the next turn. */
  warm(): WarmSession {
    return { events: this.events, state: this.state };
  }

  /** True when the log holds something to do that this brain has not seen. Read after the wake was settled. */
  async hasMore(): Promise<boolean> {
    await this.refresh();
    return !this.isFenced && this.ports.harness.next(this.view(this.state)).type !== "rest";
  }

  /** Runs to an end. Rejects when the log or the bus cannot be used; the wake then comes again. */
  async run(): Promise<RunEnd> {
    const unfollow = await this.listenAndRead();
    try {
      return await this.loop();
    } catch (error) {
      if (this.isFenced) return "fenced";
      throw error;
    } finally {
      unfollow();
      this.tasks.detach();
    }
  }

  /** Arms the wake-up before it reads. */
  private async listenAndRead(): Promise<() => void> {
    const onNews = (head: number) => this.mailbox.push({ type: "news", head });
    const [unfollow] = await Promise.all([this.ports.log.follow(this.sessionId, onNews), this.refresh()]);
    this.ports.pass("before_model_request");
    return unfollow;
  }

  private async loop(): Promise<RunEnd> {
    for (let idleSteps = 0; idleSteps < maxIdleSteps; idleSteps += 1) {
      for (const message of this.mailbox.take()) this.receive(message);
      if (this.newsHead > this.state.head) await this.refresh();
      if (this.isFenced) return "fenced";
      const state = this.expected();
      if (isOtherKind(state, this.ports.harness.kind)) return "otherKind";
      this.settleModelTask(state);
      const action = this.ports.harness.next(this.view(this.expected()));
      if (this.isDraining && !this.tasks.inFlight().has("model") && isEffect(action)) return await this.release();
      const end = await this.perform(action);
      if (end === "waited") idleSteps = 0;
      else if (end !== "goOn") return end;
    }
    throw new AppError("internal", { reason: "NO_PROGRESS", message: "the harness decides without end" });
  }

  private async perform(action: Action): Promise<RunEnd | "goOn" | "waited"> {
    switch (action.type) {
      case "append":
        this.decide(action.events);
        return "goOn";
      case "callModel":
        return await this.callModel(action);
      case "provision":
        if (await this.takeAndFlush()) this.tasks.provision(this.living(), this.held);
        return "waited";
      case "operate":
        if (!(await this.takeAndFlush())) return "waited";
        for (const call of action.start) this.operate(call, "start");
        for (const call of action.follow) this.operate(call, this.sends.has(call.id) ? "start" : "follow");
        return "waited";
      case "cancel":
        if (!(await this.takeAndFlush())) return "waited";
        this.tasks.cancel(action.calls, this.held);
        await this.mailbox.wait(undefined, 0);
        return "waited";
      case "wait":
        if (this.pending.size > 0) await this.flush();
        else await this.mailbox.wait(action.untilMs, this.ports.now());
        return "waited";
      case "rest":
        if (this.pending.size === 0) return "rest";
        if ((await this.flush()) && this.state.phase !== "closed") this.ports.pass("after_idle_append");
        return "waited";
      default: {
        const never: never = action;
        return never;
      }
    }
  }

  /** A request keeps running when its announcement lost a race: the log it was shown has not changed. */
  private async callModel(action: Extract<Action, { type: "callModel" }>): Promise<"waited"> {
    const adopted = this.tasks.model();
    if (adopted !== undefined) {
      this.decide([...closing(action.closes), adopted.start]);
      await this.storeAnnouncement();
      return "waited";
    }
    const isOverlapping = this.pending.mayOverlap;
    const contextPosition = isOverlapping ? this.state.head : action.contextPosition;
    const start: NewEvent<"span.model_request_start"> = {
      id: newId("sevt"),
      type: "span.model_request_start",
      model: this.living().agent.model,
      context_position: contextPosition,
      attempt: action.attempt,
    };
    this.decide([...closing(action.closes), start]);
    // The frame now holds framing events only; with facts in it, they must be durable before the model is asked (H2).
    if (!isOverlapping && !(await this.flush())) return "waited";
    const { agent } = this.living();
    const request = buildModelRequest(this.events, {
      agent,
      contextPosition,
      maxOutputTokens: this.ports.limits.maxOutputTokens,
    });
    this.tasks.callModel({ start, agent, request, attempt: action.attempt });
    await this.storeAnnouncement();
    return "waited";
  }

  private async storeAnnouncement(): Promise<void> {
    if (!(await this.flush())) return;
    this.tasks.model()?.claim();
    this.ports.pass("after_take_append");
  }

  /** Takes the answer of a request that the log says is open; drops a request that nobody waits for any more. */
  private settleModelTask(state: State): void {
    const task = this.tasks.model();
    if (task === undefined) return;
    const isInterrupted = state.phase === "closed" || state.phase === "unborn" || state.interrupted;
    if (isInterrupted) {
      this.tasks.dropModel();
      return;
    }
    const isOpen = state.phase === "asking" && state.request?.id === task.start.id;
    if (!isOpen || task.answer === undefined) return;
    this.pending.add(task.answer, true);
    this.tasks.dropModel();
  }

  private receive(message: Message): void {
    switch (message.type) {
      case "news":
        this.newsHead = Math.max(this.newsHead, message.head);
        return;
      case "facts":
        this.tasks.ended(message.key);
        this.pending.add(this.stillTrue(message.events), true);
        return;
      case "sendAgain":
        this.tasks.ended(message.key);
        this.sendAgain(message.operationId);
        return;
      case "failed":
        this.tasks.ended(message.key);
        this.fail(message.key, toAppError(message.error));
        return;
      case "drain":
        this.isDraining = true;
        return;
      default: {
        const never: never = message;
        throw never;
      }
    }
  }

  /** Results of calls that were answered meanwhile, and losses already told, are not told again. */
  private stillTrue(events: readonly (NewEvent | EventDraft)[]): (NewEvent | EventDraft)[] {
    const state = this.expected();
    const calls = state.phase === "acting" ? state.calls : [];
    const hand = "hand" in state ? state.hand?.id : undefined;
    return events.filter((event) => {
      if (event.type === "hand.lost") return event.hand_id === hand;
      if (event.type !== "agent.tool_result") return true;
      return calls.some((call) => call.id === event.tool_use_id && call.progress.at !== "answered");
    });
  }

  /** Proved not started: its intent is in the log already, so only the session has to be taken before it is sent. */
  private sendAgain(operationId: string): void {
    const state = this.expected();
    const call = state.phase === "acting" ? state.calls.find((one) => one.id === operationId) : undefined;
    if (call?.progress.at !== "dispatched") return;
    this.sends.set(operationId, (this.sends.get(operationId) ?? call.progress.attempt) + 1);
    this.decide([]);
  }

  private operate(call: Call, mode: "start" | "follow"): void {
    const { progress } = call;
    const attempt = this.sends.get(call.id);
    const counted =
      progress.at === "dispatched" && attempt !== undefined ? { ...call, progress: { ...progress, attempt } } : call;
    this.tasks.operate(counted, this.held, mode);
  }

  private fail(key: string, error: AppError): void {
    if (error.kind === "fenced") {
      this.ports.logger.info({ session_id: this.sessionId, task: key }, "fenced by a newer brain");
      this.isFenced = true;
      return;
    }
    if (key !== "provision") throw error;
    const state = this.expected();
    const calls = state.phase === "acting" ? state.calls.filter((call) => call.progress.at === "ready") : [];
    const words = `This call was not run: no sandbox could be made: ${error.message}`;
    this.pending.add(
      calls.map((call) => resultDraft(call, "NOT_STARTED", words, true)),
      true,
    );
  }

  /** Before any effect the session is this brain's: its epoch is what callees check (H4). */
  private takeAndFlush(): Promise<boolean> {
    this.decide([]);
    return this.flush();
  }

  /** Decisions go into the pending frame; the first one takes the session. */
  private decide(events: readonly (NewEvent | EventDraft)[]): void {
    if (this.held === 0 && !this.pending.has("brain.woken")) {
      const { kind, version } = this.ports.harness;
      this.pending.add(
        [
          {
            type: "brain.woken",
            epoch: this.epoch(),
            harness_kind: kind,
            harness_version: version,
            instance_id: this.ports.instanceId,
          },
        ],
        false,
      );
    }
    this.pending.add(events, false);
  }

  /** Stores everything pending; false when the head had moved, so that it must be decided again (H3). */
  private async flush(): Promise<boolean> {
    while (this.pending.size > 0) {
      const events = this.pending.next();
      const epoch = this.epoch();
      const expectedPosition = this.state.head;
      try {
        const stored = await this.ports.log.append({ sessionId: this.sessionId, events, expectedPosition, epoch });
        this.pending.stored(events.length);
        this.take(stored, epoch);
        this.passStored(events);
      } catch (error) {
        await this.lostRace(toAppError(error));
        return false;
      }
    }
    return true;
  }

  private take(stored: readonly StoredEvent[], epoch: number): void {
    this.events.push(...stored);
    this.state = fold(stored, this.state);
    this.held = epoch;
  }

  private async lostRace(error: AppError): Promise<void> {
    if (error.reason === "SESSION_CLOSED") {
      this.pending.clear();
      await this.refresh();
      if (this.state.phase !== "closed") throw error;
      return;
    }
    if (error.kind === "fenced") this.isFenced = true;
    if (error.kind !== "conflict") throw error;
    this.pending.dropDecisions();
    await this.refresh();
  }

  /** Reads on. A newer brain's taking after this one's first look means: stop, without a word. */
  private async refresh(): Promise<void> {
    const taking = this.epoch();
    const news = await this.ports.log.read(this.sessionId, this.state.head);
    const known = this.held > 0 ? this.held : this.state.epoch;
    const isMine = this.pending.dropStored(new Set(news.map((event) => event.id)));
    this.events.push(...news);
    this.state = fold(news, this.state);
    if (isMine) this.held = taking; // an append whose answer was lost
    const limit = isMine ? taking : known;
    if (this.hasRead && this.state.epoch > limit) this.isFenced = true;
    this.hasRead = true;
  }

  /** Gives the session back: what is known is stored, what is only decided is left to the next brain. */
  private async release(): Promise<RunEnd> {
    for (let attempt = 0; attempt < releaseAttempts && !this.isFenced; attempt += 1) {
      this.pending.dropDecisions();
      if (this.held > 0) this.pending.add([{ type: "brain.released", reason: "drain" }], false);
      if (await this.flush()) return "drained";
    }
    return this.isFenced ? "fenced" : "drained"; // what is not stored, the next brain finds out by following
  }

  private expected(): State {
    return this.pending.foldOnto(this.state, this.epoch(), this.ports.now());
  }

  private living(): LivingState {
    const state = this.expected();
    if (state.phase === "unborn" || state.phase === "closed") {
      throw new AppError("internal", { reason: "NOT_LIVING", message: "an effect was decided for a closed session" });
    }
    return state;
  }

  /** The epoch it holds, or the one it will take. */
  private epoch(): number {
    return this.held > 0 ? this.held : this.state.epoch + 1;
  }

  private view(state: State): View {
    return {
      state,
      now: this.ports.now(),
      limits: this.ports.limits,
      epoch: this.epoch(),
      inFlight: this.tasks.inFlight(),
    };
  }

  private passStored(events: readonly NewEvent[]): void {
    const types = new Set<string>(events.map((event) => event.type));
    if (types.has("span.model_request_end")) this.ports.pass("after_response_append");
    if (types.has("operation.dispatched")) this.ports.pass("after_dispatched_append");
    if (types.has("agent.tool_result")) this.ports.pass("after_result_append");
  }
}

function closing(startId: string | undefined): EventDraft[] {
  return startId === undefined ? [] : [closedRequest(startId)];
}

function isEffect(action: Action): boolean {
  return action.type !== "append" && action.type !== "rest";
}

function isOtherKind(state: State, kind: string): boolean {
  return state.phase !== "unborn" && state.phase !== "closed" && state.harnessKind !== kind;
}
