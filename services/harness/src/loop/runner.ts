/**
 * Drives one session: read → fold → decide → perform → append, until there is nothing to do (invariants H1–H6 in the
 * core's decide.ts). Only this loop awaits; model requests, operations and provisioning are tasks that report into its
 * mailbox. What is decided is collected in a pending frame and stored before any effect that needs it; only the frame
 * that announces a model request may be stored while the request is already on its way.
 */
import {
  type Action,
  buildModelRequest,
  buildSummaryRequest,
  type Call,
  type Limits,
  type NewEvent,
  resultDraft,
  type State,
  type View,
} from "@manyhands/core";
import { AppError, type Clock, type Logger, toAppError } from "@manyhands/kit";
import { type Pass, passStored } from "../fault-points.ts";
import type { Harness } from "../harness-kinds.ts";
import { toolOptions } from "../server-tools/server-tools.ts";
import { HeldSession, type HolderPorts } from "./held-session.ts";
import { createMailbox, type Mailbox, type Message } from "./mailbox.ts";
import { McpListing } from "./mcp-listing.ts";
import { closing, isBoundary, isOtherKind } from "./steps.ts";
import type { Tasks } from "./tasks.ts";
import type { WarmSession } from "./warm-sessions.ts";

/** What the loop needs from outside. */
export interface RunnerPorts extends Omit<HolderPorts, "harness" | "clock" | "onStored"> {
  readonly harness: Harness;
  readonly limits: Limits;
  readonly clock: Clock;
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
/** So long an announcement leaves the processors to the request's own way; nothing but previews waits for it. */
const announceAfterMs = 2;

/** One brain on one session. Use once. */
export class Runner {
  private readonly ports: RunnerPorts;
  private readonly mailbox: Mailbox;
  private readonly tasks: Tasks;
  private readonly session: HeldSession;
  private isDraining = false;
  private newsHead = 0;
  private readonly mcpListing: McpListing;
  /** How often operations were sent that were proved not to have started, by id. */
  private readonly sends = new Map<string, number>();

  constructor(sessionId: string, ports: RunnerPorts, warm?: WarmSession) {
    this.ports = ports;
    this.mailbox = createMailbox(ports.clock);
    this.tasks = ports.createTasks(sessionId, (message) => this.mailbox.push(message));
    const onStored = (events: readonly NewEvent[]) =>
      passStored(ports.pass, new Set<string>(events.map((event) => event.type)));
    this.session = new HeldSession(sessionId, { ...ports, onStored }, warm);
    this.mcpListing = new McpListing(this.session, this.tasks, this.mailbox);
  }

  /** Asks for the session back at the next event boundary; when urgent, even if that cuts the model's answer off. */
  drain(isUrgent: boolean): void {
    this.mailbox.push({ type: "drain", isUrgent });
  }

  /** The fold as of the end. */
  state(): State {
    return this.session.storedState;
  }

  /** The log and fold as of the end, still listening, for the next turn; whoever takes it closes its tail. */
  handOver(): WarmSession | undefined {
    return this.session.handOver();
  }

  /** Stops listening, unless that was handed over. */
  close(): void {
    this.session.close();
  }

  /** True when the log holds something to do that this brain has not seen. Read after the wake was settled. */
  async hasMore(): Promise<boolean> {
    await this.session.refresh();
    return !this.session.isFenced && this.ports.harness.next(this.view(this.session.storedState)).type !== "rest";
  }

  /** Runs to an end. Rejects when the log or the bus cannot be used; the wake then comes again. */
  async run(): Promise<RunEnd> {
    try {
      await this.session.listen((head) => this.mailbox.push({ type: "news", head }));
      this.ports.pass("before_model_request");
      return await this.loop();
    } catch (error) {
      if (this.session.isFenced) return "fenced";
      throw error;
    } finally {
      this.session.unlisten();
      this.tasks.detach();
    }
  }

  private async loop(): Promise<RunEnd> {
    for (let idleSteps = 0; idleSteps < maxIdleSteps; idleSteps += 1) {
      for (const message of this.mailbox.take()) this.receive(message);
      if (this.newsHead > this.session.storedState.head) await this.session.catchUp(this.newsHead);
      if (this.session.isFenced) return "fenced";
      const state = this.session.expected();
      if (isOtherKind(state, this.ports.harness.kind)) return "otherKind";
      this.settleModelTask(state);
      const action = this.ports.harness.next(this.view(this.session.expected()));
      if (this.isDraining && !this.tasks.inFlight().has("model") && isBoundary(action)) {
        await this.session.release(releaseAttempts);
        return this.session.isFenced ? "fenced" : "drained"; // what is not stored, the next brain finds out by following
      }
      const end = await this.perform(action);
      if (end === "waited") idleSteps = 0;
      else if (end !== "goOn") return end;
    }
    throw new AppError("internal", { reason: "NO_PROGRESS", message: "the harness decides without end" });
  }

  private async perform(action: Action): Promise<RunEnd | "goOn" | "waited"> {
    switch (action.type) {
      case "append":
        this.session.decide(action.events);
        return "goOn";
      case "callModel":
        return await this.callModel(action);
      case "provision":
        if (await this.session.takeAndFlush()) this.tasks.provision(this.session.living(), this.session.epoch);
        return "waited";
      case "operate":
        if (!(await this.session.takeAndFlush())) return "waited";
        for (const call of action.start) this.operate(call, "start");
        for (const call of action.follow) this.operate(call, this.sends.has(call.id) ? "start" : "follow");
        return "waited";
      case "cancel":
        if (!(await this.session.takeAndFlush())) return "waited";
        this.tasks.cancel(action.calls, this.session.epoch);
        await this.mailbox.wait();
        return "waited";
      case "wait":
        if (this.session.unstored > 0) await this.session.flush();
        else if (this.session.isCheckpointDue) await this.session.checkpoint();
        else await this.mailbox.wait(action.untilMs);
        return "waited";
      case "rest":
        if (this.session.isCheckpointDue) await this.session.checkpoint();
        else if (this.session.unstored === 0) return "rest";
        else if ((await this.session.flush()) && this.session.storedState.phase !== "closed")
          this.ports.pass("after_idle_append");
        return "waited";
      default: {
        const never: never = action;
        return never;
      }
    }
  }

  /** A request keeps running when its announcement lost a race that changed nothing of what it was shown. */
  private async callModel(action: Extract<Action, { type: "callModel" }>): Promise<"waited"> {
    if (await this.mcpListing.isAwaited()) return "waited";
    const adopted = this.tasks.model();
    if (adopted !== undefined && this.session.mayAdopt(adopted.start, action)) {
      this.session.decide([...closing(action.closes), adopted.start]);
      await this.storeAnnouncement();
      return "waited";
    }
    this.tasks.dropModel();
    const { purpose } = action;
    const isOverlapping = this.session.mayOverlap;
    // A summary is made of what lies behind; only the conversation itself is shown as far as it is stored.
    const isNewest = isOverlapping && purpose === undefined;
    const contextPosition = isNewest ? this.session.storedState.head : action.contextPosition;
    const start: NewEvent<"span.model_request_start"> = {
      id: this.ports.newId("sevt"),
      type: "span.model_request_start",
      model: action.model ?? this.session.living().agent.model,
      context_position: contextPosition,
      attempt: action.attempt,
      ...(purpose === undefined ? {} : { purpose }),
    };
    this.session.decide([...closing(action.closes), start]);
    // The frame now holds framing events only; with facts in it, they must be durable before the model is asked (H2).
    if (!isOverlapping && !(await this.session.flush())) return "waited";
    const { agent } = this.session.living();
    const build = purpose === undefined ? buildModelRequest : buildSummaryRequest;
    const request = build(await this.session.wholeLog(), {
      agent: { ...agent, model: start.model },
      contextPosition,
      maxOutputTokens: this.ports.limits.maxOutputTokens,
    });
    this.tasks.callModel({ start, agent, request, attempt: action.attempt });
    await this.ports.clock.sleep(announceAfterMs); // the request is on its way before its announcement is made
    await this.storeAnnouncement();
    return "waited";
  }

  private async storeAnnouncement(): Promise<void> {
    if (!(await this.session.flush())) return;
    const task = this.tasks.model();
    if (task?.start.purpose === undefined) task?.claim({ state: this.session.living(), epoch: this.session.epoch }); // nobody sees a summary being written
    this.ports.pass("after_take_append");
  }

  /** Takes the answer of a request that the log says is open; drops a request that nobody waits for any more. */
  private settleModelTask(state: State): void {
    const task = this.tasks.model();
    if (task === undefined) return;
    const isUnwanted = state.phase === "closed" || state.phase === "unborn" || state.interrupted;
    if (isUnwanted || state.phase === "acting") {
      this.tasks.dropModel();
      return;
    }
    const isOpen = state.phase === "asking" && state.request?.id === task.start.id;
    if (!isOpen || task.answer === undefined) return;
    this.session.learn(task.answer);
    this.tasks.dropModel();
  }

  private receive(message: Message): void {
    switch (message.type) {
      case "news":
        this.newsHead = Math.max(this.newsHead, message.head);
        return;
      case "facts":
        this.tasks.ended(message.key);
        this.session.learn(this.session.stillTrue(message.events));
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
        if (message.isUrgent) this.tasks.dropModel();
        return;
      default: {
        const never: never = message;
        throw never;
      }
    }
  }

  /** Proved not started: its intent is in the log already, so only the session has to be taken before it is sent. */
  private sendAgain(operationId: string): void {
    const state = this.session.expected();
    const call = state.phase === "acting" ? state.calls.find((one) => one.id === operationId) : undefined;
    if (call?.progress.at !== "dispatched") return;
    this.sends.set(operationId, (this.sends.get(operationId) ?? call.progress.attempt) + 1);
    this.session.decide([]);
  }

  private operate(call: Call, mode: "start" | "follow"): void {
    const { progress } = call;
    const attempt = this.sends.get(call.id);
    const counted =
      progress.at === "dispatched" && attempt !== undefined ? { ...call, progress: { ...progress, attempt } } : call;
    const { agent } = this.session.living();
    this.tasks.operate(counted, this.session.epoch, mode, toolOptions(agent.toolset, call.name));
  }

  private fail(key: string, error: AppError): void {
    if (error.kind === "fenced") {
      this.ports.logger.info({ session_id: this.session.id, task: key }, "fenced by a newer brain");
      this.session.fence();
      return;
    }
    if (key !== "provision") throw error;
    const state = this.session.expected();
    const calls = state.phase === "acting" ? state.calls.filter((call) => call.progress.at === "ready") : [];
    const words = `This call was not run: no sandbox could be made: ${error.message}`;
    this.session.learn(calls.map((call) => resultDraft(call, "NOT_STARTED", words, true)));
  }

  private view(state: State): View {
    return {
      state,
      now: this.ports.clock.nowMs(),
      limits: this.ports.limits,
      epoch: this.session.epoch,
      inFlight: this.tasks.inFlight(),
    };
  }
}
