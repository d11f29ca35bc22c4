/**
 * Hands and the ledgers in them: what sandbox-manager promises (the contract of `execute`). The same operation id never
 * starts twice, an older epoch is refused, a ledger outlives its manager and dies with its hand.
 */
import { create } from "@bufbuild/protobuf";
import { AppError } from "@manyhands/kit";
import { type OperationResult, OperationResultSchema, Outcome } from "@manyhands/protocol";
import type { Faults } from "./faults.ts";
import { Pipe } from "./pipe.ts";
import type { Scheduler } from "./scheduler.ts";

/** One item of an operation's stream. */
export type Item =
  | { readonly case: "started"; readonly value: Record<never, never> }
  | { readonly case: "result"; readonly value: OperationResult };

interface Operation {
  readonly id: string;
  /** Who asked for it: the session that had the hand by then. */
  readonly sessionId: string;
  /** `started`: the intent is in the ledger, and whether it was spawned nobody knows. */
  at: "running" | "ended" | "started";
  result?: OperationResult;
  readonly watchers: Set<Pipe<{ item: Item }>>;
}

/** One hand. */
export interface SimHand {
  readonly id: string;
  /** Whose it is now. */
  sessionId: string;
  /** Who passed it on last. */
  fromSessionId?: string;
  readonly generation: number;
  isAlive: boolean;
  epoch: number;
  readonly operations: Map<string, Operation>;
}

/** A call about one operation. */
export interface HandCall {
  readonly sessionId: string;
  readonly handId: string;
  readonly operationId: string;
  readonly epoch: number;
}

/** A call that starts one. */
export interface TimedCall extends HandCall {
  readonly timeoutMs: number;
}

/** What the world is told of. */
export interface LedgerEvents {
  /** An operation is about to be run for the first time, or again. */
  onRun(hand: SimHand, operationId: string, epoch: number): void;
  visited(crashPoint: string): void;
}

const adoptMs = 300;

/** All hands, behind one manager that may be down. */
export class HandLedger {
  readonly hands = new Map<string, SimHand>();
  private readonly scheduler: Scheduler;
  private readonly faults: Faults;
  private readonly events: LedgerEvents;
  private downUntilMs = 0;
  private busAwayUntilMs = 0;
  private made = 0;

  constructor(scheduler: Scheduler, faults: Faults, events: LedgerEvents) {
    this.scheduler = scheduler;
    this.faults = faults;
    this.events = events;
  }

  provision(sessionId: string, epoch: number): SimHand {
    this.mustBeUp();
    this.mustHaveBus();
    const mine = [...this.hands.values()].filter((hand) => hand.sessionId === sessionId);
    const living = mine.find((hand) => hand.isAlive);
    if (living !== undefined) {
      this.takeEpoch(living, epoch);
      this.events.visited("CP27"); // made before, and nobody recorded it
      return living;
    }
    if (mine.some((hand) => hand.epoch > epoch)) throw AppError.fenced("a newer brain uses the hands", {});
    const hand: SimHand = {
      id: `hand_${++this.made}`,
      sessionId,
      generation: mine.length + 1,
      isAlive: true,
      epoch,
      operations: new Map(),
    };
    this.hands.set(hand.id, hand);
    return hand;
  }

  /** Starts an operation, or finds it. */
  execute(call: TimedCall): Pipe<{ item: Item }> {
    if (this.isDown) this.events.visited("CP10");
    this.mustBeUp();
    const hand = this.living(call);
    this.takeEpoch(hand, call.epoch);
    if (this.isBusAway && this.scheduler.chance(0.6)) throw busAway();
    const known = hand.operations.get(call.operationId);
    if (known !== undefined) return this.follow(known);
    const pipe = new Pipe<{ item: Item }>();
    if (this.isBusAway) {
      this.events.visited("begun, and refused for the bus");
      pipe.close(busAway());
    }
    if (this.scheduler.chance(this.faults.managerStuck)) {
      this.scheduler.after(this.scheduler.between(500, 4_000), () => this.startLate(hand, call, pipe));
      return pipe;
    }
    this.start(hand, call, pipe);
    return pipe;
  }

  /** How an operation stands. */
  attach(call: HandCall): Pipe<{ item: Item }> {
    this.mustBeUp();
    this.mustHaveBus();
    const own = this.leftIn(call);
    if (own !== undefined) return this.follow(own);
    const hand = this.living(call);
    this.takeEpoch(hand, call.epoch);
    const known = hand.operations.get(call.operationId);
    if (known !== undefined) return this.follow(known);
    const pipe = new Pipe<{ item: Item }>();
    pipe.push({ item: { case: "result", value: resultOf(Outcome.NOT_STARTED, "This operation was never started.") } });
    pipe.close();
    return pipe;
  }

  cancel(call: HandCall): void {
    this.mustBeUp();
    this.mustHaveBus();
    const hand = this.living(call);
    this.takeEpoch(hand, call.epoch);
    const operation = hand.operations.get(call.operationId);
    if (operation?.at === "ended") this.events.visited("CP23");
    if (operation?.at === "running") this.end(operation, resultOf(Outcome.KILLED, "[killed: it was canceled]"));
  }

  /**
   * A living hand becomes another session's, with what runs in it. Its former session is refused from now on, but
   * sees how what it began ends. False where the other session has one already.
   */
  pass(hand: SimHand, toSessionId: string): boolean {
    const isTaken = [...this.hands.values()].some((one) => one.sessionId === toSessionId && one.isAlive);
    if (!hand.isAlive || isTaken || hand.sessionId === toSessionId) return false;
    if (this.isRunning(hand.sessionId)) this.events.visited("CP28");
    hand.fromSessionId = hand.sessionId;
    hand.sessionId = toSessionId;
    hand.epoch = 0;
    return true;
  }

  /** The manager dies: every stream breaks, ledgers stay. */
  crashManager(): void {
    const all = this.operations();
    if (all.some((operation) => operation.at === "running")) this.events.visited("CP13");
    this.downUntilMs = this.scheduler.nowMs + adoptMs;
    for (const operation of all) {
      for (const pipe of operation.watchers) pipe.close(AppError.unavailable("UNAVAILABLE", "the manager is gone"));
      operation.watchers.clear();
    }
  }

  /** The manager's bus goes away for a while. */
  loseBus(untilMs: number): void {
    this.busAwayUntilMs = Math.max(this.busAwayUntilMs, untilMs);
  }

  /** The container dies with everything in it. */
  loseHand(hand: SimHand): void {
    if (!hand.isAlive) return;
    hand.isAlive = false;
    for (const operation of hand.operations.values()) {
      if (operation.at !== "running") continue;
      this.events.visited("CP14");
      this.end(operation, {
        ...resultOf(Outcome.UNKNOWN, "the sandbox was lost"),
        handLost: true,
        lostReason: "killed",
      });
    }
  }

  /** The engine dies: all containers of all sessions. */
  loseEngine(): void {
    const living = [...this.hands.values()].filter((hand) => hand.isAlive);
    if (living.some((hand) => [...hand.operations.values()].some((one) => one.at === "running")))
      this.events.visited("CP15");
    for (const hand of living) this.loseHand(hand);
  }

  /** True while an operation of the session runs. */
  isRunning(sessionId: string): boolean {
    return this.operations(sessionId).some((operation) => operation.at === "running");
  }

  private get isDown(): boolean {
    return this.scheduler.nowMs < this.downUntilMs;
  }

  private mustBeUp(): void {
    if (this.isDown) throw AppError.unavailable("UNAVAILABLE", "the manager is down");
  }

  private get isBusAway(): boolean {
    return this.scheduler.nowMs < this.busAwayUntilMs;
  }

  private mustHaveBus(): void {
    if (this.isBusAway) throw busAway();
  }

  private operations(sessionId?: string): Operation[] {
    return [...this.hands.values()]
      .flatMap((hand) => [...hand.operations.values()])
      .filter((operation) => sessionId === undefined || operation.sessionId === sessionId);
  }

  /** An operation in a hand that is another session's by now: how it ends is still for the session that asked for it. */
  private leftIn({ sessionId, handId, operationId }: HandCall): Operation | undefined {
    const hand = this.hands.get(handId);
    const operation = hand?.operations.get(operationId);
    const isLeft = hand?.sessionId !== sessionId && operation?.sessionId === sessionId;
    return isLeft ? operation : undefined;
  }

  /** The hand, for its own session; the one it was passed on by is fenced, for any other there is none. */
  private living({ handId, sessionId }: HandCall): SimHand {
    const hand = this.hands.get(handId);
    if (hand?.fromSessionId === sessionId) throw AppError.fenced("it was transferred", { transferred: "true" });
    if (hand?.sessionId !== sessionId) throw AppError.notFound("hand", handId);
    if (!hand.isAlive) throw AppError.unavailable("HAND_LOST", "killed");
    return hand;
  }

  private takeEpoch(hand: SimHand, epoch: number): void {
    if (epoch < hand.epoch) throw AppError.fenced(`epoch ${epoch} is over`, { epoch: String(hand.epoch) });
    hand.epoch = epoch;
  }

  /** What a manager that was stuck does with the request it held. */
  private startLate(hand: SimHand, call: TimedCall, pipe: Pipe<{ item: Item }>): void {
    this.events.visited("CP21");
    const { sessionId, epoch, operationId } = call;
    const isOver = !hand.isAlive || epoch < hand.epoch || hand.operations.has(operationId);
    if (isOver || hand.sessionId !== sessionId)
      pipe.close(AppError.unavailable("UNAVAILABLE", "the hand is another manager's"));
    else this.start(hand, call, pipe);
  }

  private start(hand: SimHand, call: TimedCall, pipe: Pipe<{ item: Item }>): void {
    const { operationId: id, sessionId, epoch, timeoutMs } = call;
    const operation: Operation = { id, sessionId, at: "started", watchers: new Set([pipe]) };
    if (this.scheduler.chance(this.faults.managerCrash)) {
      // It died between its entry and the spawn. Half of the time the hand can prove that nothing came of it.
      this.events.visited("CP11");
      if (this.scheduler.chance(0.5)) hand.operations.set(id, operation);
      this.crashManager();
      pipe.close(AppError.unavailable("UNAVAILABLE", "the manager is gone"));
      return;
    }
    hand.operations.set(id, operation);
    operation.at = "running";
    this.events.onRun(hand, id, epoch);
    pipe.push({ item: { case: "started", value: {} } });
    const runMs = this.scheduler.chance(0.1) ? timeoutMs * 2 : this.scheduler.between(0, 400);
    this.scheduler.after(Math.min(runMs, timeoutMs), () => {
      if (operation.at !== "running") return;
      if (runMs > timeoutMs) {
        this.events.visited("CP22");
        this.end(operation, resultOf(Outcome.KILLED, "part\n[killed: it ran longer than its timeout]"));
        return;
      }
      if (this.scheduler.chance(this.faults.managerCrash)) {
        this.events.visited("CP16");
        this.crashManager();
      }
      this.end(operation, resultOf(Outcome.COMPLETED, `ran ${id}`));
    });
  }

  private follow(operation: Operation): Pipe<{ item: Item }> {
    const pipe = new Pipe<{ item: Item }>();
    if (operation.at === "started") {
      const unknown = resultOf(Outcome.UNKNOWN, "the sandbox's agent was restarted while it ran");
      pipe.push({ item: { case: "result", value: unknown } });
      pipe.close();
      return pipe;
    }
    pipe.push({ item: { case: "started", value: {} } });
    if (operation.result === undefined) operation.watchers.add(pipe);
    else {
      pipe.push({ item: { case: "result", value: operation.result } });
      pipe.close();
    }
    return pipe;
  }

  private end(operation: Operation, result: OperationResult): void {
    operation.at = "ended";
    operation.result = result;
    for (const pipe of operation.watchers) {
      pipe.push({ item: { case: "result", value: result } });
      pipe.close();
    }
    operation.watchers.clear();
  }
}

function busAway(): AppError {
  return AppError.unavailable("BUS_UNAVAILABLE", "the manager is without its bus");
}

function resultOf(outcome: Outcome, content: string): OperationResult {
  return create(OperationResultSchema, { outcome, content, isError: outcome !== Outcome.COMPLETED });
}
