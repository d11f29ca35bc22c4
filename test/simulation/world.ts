/** One simulated platform: brains with the real loop, a log, hands, a wake queue, a model and a client, and one seed. */
import { create, toBinary } from "@bufbuild/protobuf";
import type { StoredFrame } from "@manyhands/bus";
import { defaultLimits, emptyState, fold, type NewEvent, type SessionEvent, type State } from "@manyhands/core";
import { AppError, type Lifecycle, silentLogger } from "@manyhands/kit";
import {
  AttachResponseSchema,
  CancelOperationResponseSchema,
  decodeEvent,
  EmitEventsResponseSchema,
  type Event,
  ExecuteResponseSchema,
  encodeEvent,
  FrameSchema,
  GetEventsResponseSchema,
  ProvisionResponseSchema,
} from "@manyhands/protocol";
import { created } from "../../packages/core/src/testing/test-log.ts";
import type { Driver } from "../../services/harness/src/loop/drive-wakes.ts";
import { HandLedger, type Item } from "./hand-ledger.ts";
import type { BrainPorts, startBrain } from "./loop-under-test.ts";
import { MemoryLog } from "./memory-log.ts";
import { type Faults, Pipe, Process } from "./process.ts";
import { Scheduler } from "./scheduler.ts";
import { simModel } from "./sim-model.ts";
import { WakeQueue } from "./wake-queue.ts";
import { Watch } from "./watch.ts";

/** Limits small enough to be reached. */
export const simLimits = {
  ...defaultLimits,
  parallelTools: 2,
  iterationsPerTurn: 12,
  toolUsesPerResponse: 3,
  operationTimeoutMs: 1_500,
  modelAttempts: 4,
  modelBackoffMs: 50,
  modelBackoffMaxMs: 1_000,
};

const logger = silentLogger();
const rescanMs = 2_000;
const pauseMs = { from: 1_000, to: 6_000 };
const restartMs = { from: 50, to: 1_500 };
const calmMs = 200_000;
const maxSteps = 60_000;

/** What a run of one seed came to. */
export interface RunOfSeed {
  readonly violations: readonly string[];
  readonly steps: number;
  readonly events: number;
  /** What was visited, by name. */
  readonly visits: ReadonlyMap<string, number>;
}

interface Brain {
  readonly process: Process;
  readonly stop: AbortController;
  readonly driver?: Driver;
  free(): void;
}

/** Faults of a seed: some kinds are absent, so that others are seen alone too. */
function faultsOf(scheduler: Scheduler): Faults {
  const some = (share: number) => (scheduler.chance(0.5) ? share * scheduler.random() * 2 : 0);
  return {
    crash: some(0.03),
    requestLost: some(0.02),
    replyLost: some(0.04),
    twice: some(0.04),
    pause: some(0.05),
    hintLost: some(0.15),
    leaderGap: some(0.01),
    managerCrash: some(0.08),
    managerStuck: some(0.05),
    handLost: some(0.02),
    engineLost: some(0.01),
    modelFails: some(0.15),
  };
}

/** One world; run it once. */
export class World {
  readonly watch = new Watch(simLimits);
  readonly visits = new Map<string, number>();
  private readonly scheduler: Scheduler;
  private readonly faults: Faults;
  private readonly log: MemoryLog;
  private readonly hands: HandLedger;
  private readonly wakes: WakeQueue;
  private readonly tails = new Map<string, Set<(frame: StoredFrame) => void>>();
  private readonly brains = new Map<string, Brain>();
  private readonly start: typeof startBrain;
  private readonly trace: ((line: string) => void) | undefined;
  private readonly sessionIds: string[] = [];
  private ids = 0;
  private lives = 0;
  private leaderGoneUntilMs = 0;
  private clientLeft = 0;
  private isCalm = false;
  private readonly movedAt = new Map<string, number>();
  private readonly states = new Map<string, State>();

  constructor(seed: number, start: typeof startBrain, trace?: (line: string) => void) {
    this.scheduler = new Scheduler(seed);
    this.faults = faultsOf(this.scheduler);
    this.start = start;
    this.trace = trace;
    this.log = new MemoryLog(() => this.scheduler.nowMs);
    const onFailed = (brain: string, sessionId: string, error: unknown) => {
      this.visited("wake given back");
      this.note(`${brain} gives ${sessionId} back: ${String(error instanceof Error ? error.stack : error)}`);
    };
    const takers = () =>
      [...this.brains.values()].flatMap(({ process, driver }) => (driver ? [{ process, driver }] : []));
    this.wakes = new WakeQueue(this.scheduler, onFailed, takers);
    this.hands = new HandLedger(this.scheduler, this.faults, {
      onRun: (hand, id, epoch) => {
        this.note(`run ${id} in ${hand.id}`);
        if (epoch < hand.epoch) this.watch.violated("V5", `${id} is run under epoch ${epoch} of ${hand.epoch}`);
        this.watch.ran(hand.sessionId, id);
      },
      visited: (point) => this.visited(point),
    });
  }

  /** Storm, then calm, until everything is at rest. */
  async run(): Promise<RunOfSeed> {
    const { scheduler } = this;
    const random = Math.random;
    Math.random = scheduler.random; // jitter of retries
    try {
      const sessions = scheduler.between(1, 2);
      for (let n = 0; n < sessions; n += 1) this.createSession(`sesn_${n}`);
      const brains = scheduler.between(1, 3);
      for (let n = 0; n < brains; n += 1) this.startBrain();
      this.rescan();
      this.strike();
      const calmAt = scheduler.nowMs + scheduler.between(2_000, 8_000);
      let steps = 0;
      for (; steps < maxSteps; steps += 1) {
        if (!this.isCalm && scheduler.nowMs >= calmAt && this.clientLeft === 0) this.calmDown();
        if (this.isCalm && steps % 16 === 0 && this.isAtRest()) break;
        if (scheduler.nowMs > calmAt + calmMs || this.watch.violations.length > 0) break;
        if (!(await scheduler.step())) break;
      }
      if (this.watch.violations.length === 0) this.judge();
      const events = [...this.log.sessions.values()].reduce((sum, session) => sum + session.events.length, 0);
      return { violations: this.watch.violations, steps, events, visits: this.visits };
    } finally {
      for (const brain of this.brains.values()) brain.free();
      Math.random = random;
    }
  }

  private note(line: string): void {
    this.trace?.(`${String(this.scheduler.nowMs - 1_700_000_000_000).padStart(7)} ${line}`);
  }

  private visited(what: string): void {
    this.visits.set(what, (this.visits.get(what) ?? 0) + 1);
    this.note(`* ${what}`);
  }

  private newId(prefix: string): string {
    this.ids += 1;
    return `${prefix}_${this.ids}`;
  }

  // ------------------------------------------------------------------ the log

  private createSession(id: string): void {
    const draft = { ...created(), id: this.newId("sevt") } as NewEvent<"session.created">;
    const events = this.log.create(id, [encodeEvent(draft)]);
    this.folded(id, decoded(events));
    this.sessionIds.push(id);
    this.clientOf(id);
  }

  private emit(request: Parameters<MemoryLog["emit"]>[0]) {
    if (this.scheduler.nowMs < this.leaderGoneUntilMs) {
      if (request.events.some((event) => event.type === "agent.tool_result")) this.visited("CP30");
      throw AppError.unavailable("UNAVAILABLE", "no leader");
    }
    const answer = this.log.emit(request);
    if (!answer.duplicate) this.afterStore(request.sessionId, answer.events);
    else if (answer.events.some((event) => event.type === "agent.tool_result")) this.visited("CP18");
    return create(EmitEventsResponseSchema, {
      events: answer.events,
      headPosition: BigInt(answer.headPosition),
      duplicate: answer.duplicate,
    });
  }

  private afterStore(sessionId: string, events: readonly Event[]): void {
    const { scheduler, faults } = this;
    const known = decoded(events);
    if (this.trace !== undefined) {
      for (const event of known) this.note(`${sessionId} ${event.position} e${event.epoch} ${describe(event)}`);
    }
    this.folded(sessionId, known);
    this.movedAt.set(sessionId, scheduler.nowMs);
    if (known.some((event) => event.type.startsWith("user."))) {
      if (scheduler.chance(faults.hintLost)) this.visited("CP3");
      else this.wakes.publish(sessionId);
    }
    const ears = this.tails.get(sessionId);
    if (ears === undefined || ears.size === 0) return;
    const payload = toBinary(FrameSchema, create(FrameSchema, { events: [...events] }));
    const position = known[0]?.position ?? 0;
    const frame: StoredFrame = {
      sessionId,
      frame: position,
      payload,
      position,
      count: events.length,
      sequence: position,
    };
    for (const ear of ears) {
      if (scheduler.chance(faults.hintLost)) continue;
      scheduler.after(scheduler.between(0, 5), () => ear(frame));
      if (scheduler.chance(faults.twice)) scheduler.after(scheduler.between(0, 50), () => ear(frame));
    }
  }

  private read(sessionId: string, from: number, to: number | undefined) {
    if (this.scheduler.nowMs < this.leaderGoneUntilMs) throw AppError.unavailable("UNAVAILABLE", "no leader");
    const { events } = this.log.session(sessionId);
    return create(GetEventsResponseSchema, { events: events.slice(from, to), nextPageToken: "" });
  }

  private folded(sessionId: string, events: readonly SessionEvent[]): void {
    this.watch.stored(sessionId, events);
    this.states.set(sessionId, fold(events, this.states.get(sessionId)));
  }

  private state(sessionId: string): State {
    return this.states.get(sessionId) ?? emptyState;
  }

  // ------------------------------------------------------------------ the client

  /** Talks for a while: messages, interrupts, answers to what waits for it; every event until it is acknowledged. */
  private clientOf(sessionId: string): void {
    const { scheduler } = this;
    const count = scheduler.between(1, 3);
    this.clientLeft += count;
    for (let n = 0; n < count; n += 1) {
      // Half of the time while the first turn is still young: then it meets the model's or a tool's answer.
      const soonMs = scheduler.chance(0.5) ? 250 : 4_000;
      scheduler.after(n === 0 ? 0 : scheduler.between(0, soonMs), () => {
        const isInterrupt = n > 0 && scheduler.chance(0.25);
        const isDeletion = n > 0 && scheduler.chance(0.05);
        const event: NewEvent = isDeletion
          ? { id: this.newId("sevt"), type: "session.deleted" }
          : isInterrupt
            ? { id: this.newId("sevt"), type: "user.interrupt" }
            : { id: this.newId("sevt"), type: "user.message", content: [{ type: "text", text: `message ${n}` }] };
        if (isDeletion && this.hands.isRunning(sessionId)) this.visited("CP29");
        this.send(sessionId, event, () => {
          this.clientLeft -= 1;
        });
      });
    }
    const answering = () => {
      this.answerWaiting(sessionId);
      scheduler.after(scheduler.between(50, 800), answering);
    };
    scheduler.after(300, answering);
  }

  private send(sessionId: string, event: NewEvent, done: () => void, attempt = 1): void {
    const { scheduler, faults } = this;
    const again = (why: string) => {
      this.visited(why);
      scheduler.after(100, () => this.send(sessionId, event, done, attempt + 1));
    };
    if (scheduler.chance(faults.requestLost)) {
      again("CP1");
      return;
    }
    try {
      const encoded = [encodeEvent(event)];
      this.emit({ sessionId, events: encoded, epoch: 0n, requestId: "" });
    } catch (error) {
      if (error instanceof AppError && error.kind === "unavailable") again("client: no leader");
      else done(); // the session is closed
      return;
    }
    if (scheduler.chance(faults.replyLost)) again("CP2");
    else done();
  }

  private readonly answered = new Set<string>();

  private answerWaiting(sessionId: string): void {
    const state = this.state(sessionId);
    if (state.phase !== "acting" || state.status !== "idle") return;
    for (const call of state.calls) {
      if (call.progress.at !== "waiting" || this.answered.has(call.id)) continue;
      this.answered.add(call.id);
      const id = this.newId("sevt");
      const isAllowed = this.scheduler.chance(0.7);
      const event: NewEvent =
        call.progress.for === "client"
          ? { id, type: "user.custom_tool_result", custom_tool_use_id: call.id, content: [] }
          : { id, type: "user.tool_confirmation", tool_use_id: call.id, result: isAllowed ? "allow" : "deny" };
      this.send(sessionId, event, () => undefined);
      if (this.scheduler.chance(0.3)) return; // the rest later
    }
  }

  // ------------------------------------------------------------------ brains

  private startBrain(): void {
    this.lives += 1;
    const name = `brain-${this.lives}`;
    const stop = new AbortController();
    const process: Process = new Process(name, this.scheduler, this.faults, (site) => this.crashed(name, site));
    const brain: Brain = { process, stop, free: () => undefined };
    this.brains.set(name, brain);
    this.note(`${name} starts`);
    this.start(this.portsOf(process, stop)).then(
      ({ driver, stop: free }) => {
        if (this.brains.get(name) === brain) this.brains.set(name, { ...brain, driver, free });
        else free();
      },
      () => undefined,
    );
  }

  private crashed(name: string, site: string): void {
    this.visited(`crash ${site}`);
    for (const id of this.sessionIds) this.notePoint(id, name, site);
    this.brains.get(name)?.free();
    this.brains.delete(name);
    this.scheduler.after(this.scheduler.between(restartMs.from, restartMs.to), () => this.startBrain());
  }

  /** Which rows of the crash table this death stands for. */
  private notePoint(sessionId: string, name: string, site: string): void {
    const state = this.state(sessionId);
    const events = this.log.session(sessionId).events;
    const woken = events.findLast((event) => event.payload.case === "brainWoken");
    const isMine = woken?.payload.case === "brainWoken" && woken.payload.value.instanceId === name;
    if (!isMine || state.phase === "unborn" || state.phase === "closed") return;
    if (state.phase === "asking") {
      if (site.startsWith("model: in") || site.startsWith("pass during_model")) this.visited("CP5");
      else if (lastFact(events) === "agent.tool_result") this.visited("CP19");
      else if (site === "emit response: not sent" || site === "pass after_model_response") this.visited("CP6");
      else if (state.request !== undefined) this.visited("CP4");
      return;
    }
    if (state.phase !== "acting") return;
    if (site === "emit response: not answered") this.visited("CP7");
    const { calls } = state;
    const answered = calls.filter((call) => call.progress.at === "answered").length;
    if (calls.length > 1 && answered > 0 && answered < calls.length) this.visited("CP24");
    if (site === "emit result: not sent" || site === "pass after_execute_returned") this.visited("CP17");
    if (site === "emit result: not answered") this.visited("CP18");
    if (calls.some((call) => call.progress.at === "ready")) this.visited("CP8");
    const isUnsent = calls.some((call) => call.progress.at === "dispatched" && !this.watch.runs.has(call.id));
    if (isUnsent) this.visited("CP9");
    if (this.hands.isRunning(sessionId)) this.visited("CP12");
  }

  private portsOf(process: Process, stop: AbortController): BrainPorts {
    const { scheduler, watch } = this;
    const newId = (prefix: string) => this.newId(prefix);
    const lifecycle: Pick<Lifecycle, "signal" | "drainMs" | "onStop"> = {
      signal: stop.signal,
      drainMs: 3_000,
      onStop: () => undefined,
    };
    return {
      instanceId: process.name,
      clock: process.clock,
      newId,
      logger,
      lifecycle,
      limits: simLimits,
      concurrency: 8,
      warmMs: scheduler.chance(0.5) ? 60_000 : 0,
      checkpointEvents: scheduler.chance(0.3) ? 20 : 0,
      pass: (point) => {
        process.mayCrash(`pass ${point}`);
      },
      wakes: {
        consume: async (options) => this.wakes.consume(process, options),
        publish: ({ sessionId }) => process.call("wake", () => this.wakes.publish(sessionId)),
      },
      model: simModel(scheduler, this.faults, process, newId, {
        onAsk: (sessionId, request) => {
          this.note(`${process.name} asks the model, ${request.messages.length} turns`);
          watch.asked(process.name, sessionId, request);
        },
        onAnswer: () => undefined,
        isCalm: () => this.isCalm,
      }),
      sessions: this.sessionsOf(process),
      sandboxes: this.sandboxesOf(process),
      subscribeTail: (sessionId, onFrame) =>
        process.call("follow", () => {
          const ear = (frame: StoredFrame) => process.deliver(() => onFrame(frame));
          const ears = this.tails.get(sessionId) ?? new Set();
          this.tails.set(sessionId, ears.add(ear));
          return () => void ears.delete(ear);
        }),
    };
  }

  private sessionsOf(process: Process): BrainPorts["sessions"] {
    const { watch } = this;
    return {
      getEvents: async (request) => {
        const { sessionId = "", slice } = request;
        const answer = await process.call("read", () => {
          const range = slice?.case === "range" ? slice.value : undefined;
          const from =
            slice?.case === "fromCheckpoint" ? this.log.session(sessionId).checkpoint : Number(range?.from ?? 0);
          return this.read(sessionId, from, range?.to === undefined ? undefined : Number(range.to));
        });
        for (const { payload } of answer.events) {
          if (payload.case !== "brainWoken" || payload.value.instanceId === process.name) continue;
          watch.tell(process.name, sessionId, Number(payload.value.epoch));
        }
        return answer;
      },
      emitEvents: async (request) => {
        const { sessionId = "", epoch = 0n, requestId = "", expectedPosition } = request;
        const events = (request.events ?? []) as Event[]; // they come from encodeEvent
        watch.acts(process.name, sessionId, Number(epoch), `writes ${events.map((event) => event.type)}`);
        const types = new Set(events.map((event) => event.type));
        const kind = types.has("span.model_request_end")
          ? " response"
          : types.has("agent.tool_result")
            ? " result"
            : "";
        const answer = await process.call(`emit${kind}`, () => {
          if (Number(epoch) < this.log.session(sessionId).epoch) this.visited("CP20");
          return this.emit({ sessionId, events, epoch: BigInt(epoch), requestId, expectedPosition });
        });
        const ids = answer.events.map((event) => event.id);
        watch.acknowledged(sessionId, ids);
        return answer;
      },
    };
  }

  private sandboxesOf(process: Process): BrainPorts["sandboxes"] {
    const { hands, watch } = this;
    return {
      provision: ({ sessionId = "", epoch = 0n }, options) =>
        process.call(
          "provision",
          () => {
            const hand = hands.provision(sessionId, Number(epoch));
            const { id, generation } = hand;
            return create(ProvisionResponseSchema, {
              hand: { id, sessionId, generation, name: "default", driver: "sim" },
            });
          },
          options?.signal,
        ),
      execute: (request, options) => {
        const { handId = "", operationId = "", epoch = 0n } = request;
        const sessionId = hands.hands.get(handId)?.sessionId ?? "";
        watch.acts(process.name, sessionId, Number(epoch), `runs ${operationId}`);
        const open = () => hands.execute(handId, operationId, Number(epoch), simLimits.operationTimeoutMs);
        const message = (item: { item: Item }) => create(ExecuteResponseSchema, item);
        return this.heeding(process, operationId, handId, through(process, "execute", open, options?.signal, message));
      },
      attach: ({ handId = "", operationId = "", epoch = 0n }, options) => {
        watch.acts(process.name, operationId, Number(epoch), `follows ${operationId}`);
        const open = () => hands.attach(handId, operationId, Number(epoch));
        const message = (item: { item: Item }) => create(AttachResponseSchema, item);
        return this.heeding(process, operationId, handId, through(process, "attach", open, options?.signal, message));
      },
      cancelOperation: ({ handId = "", operationId = "", epoch = 0n }) =>
        process.call("cancel", () => {
          hands.cancel(handId, operationId, Number(epoch));
          return create(CancelOperationResponseSchema, {});
        }),
    };
  }

  /** A refused epoch tells of a newer one: whoever hears that must not ask again. */
  private async *heeding<T>(
    process: Process,
    operationId: string,
    handId: string,
    items: AsyncGenerator<T>,
  ): AsyncGenerator<T> {
    try {
      yield* items;
    } catch (error) {
      const hand = this.hands.hands.get(handId);
      const isRefused = hand !== undefined && error instanceof AppError && error.kind === "fenced";
      if (isRefused) this.watch.tell(process.name, operationId, hand.epoch);
      throw error;
    }
  }

  // ------------------------------------------------------------------ fate

  /** Session-store's look at sessions that should be moving and are not. */
  private rescan(): void {
    for (const id of this.sessionIds) {
      const quietMs = this.scheduler.nowMs - (this.movedAt.get(id) ?? 0);
      const isStalled = quietMs >= rescanMs && ["running", "rescheduling"].includes(this.statusOf(id));
      if (isStalled && !this.wakes.has(id)) this.wakes.publish(id);
    }
    this.scheduler.after(rescanMs, () => this.rescan());
  }

  /** Faults that strike by themselves. */
  private strike(): void {
    const { scheduler, faults } = this;
    if (this.isCalm) return;
    if (scheduler.chance(faults.managerCrash)) this.hands.crashManager();
    if (scheduler.chance(faults.engineLost)) this.hands.loseEngine();
    const hand = scheduler.pick([...this.hands.hands.values()]);
    if (hand !== undefined && scheduler.chance(faults.handLost)) this.hands.loseHand(hand);
    if (scheduler.chance(faults.leaderGap)) this.leaderGoneUntilMs = scheduler.nowMs + scheduler.between(200, 4_000);
    const brain = scheduler.pick([...this.brains.values()]);
    if (brain !== undefined && scheduler.chance(faults.pause)) {
      this.note(`${brain.process.name} stops`);
      const { name } = brain.process;
      brain.process.pause(scheduler.between(pauseMs.from, pauseMs.to), () => this.note(`${name} goes on`));
    }
    if (brain !== undefined && scheduler.chance(faults.pause / 4)) this.drain(brain);
    scheduler.after(100, () => this.strike());
  }

  /** SIGTERM: it hands its sessions back and ends. */
  private drain(brain: Brain): void {
    const { name } = brain.process;
    this.visited("drain");
    brain.stop.abort();
    this.scheduler.after(4_000, () => {
      if (this.brains.has(name)) brain.process.crash("end of drain");
    });
  }

  private calmDown(): void {
    this.isCalm = true;
    this.note("faults stop");
    for (const key of Object.keys(this.faults) as (keyof Faults)[]) this.faults[key] = 0;
    if (this.brains.size === 0 || [...this.brains.values()].every((brain) => brain.stop.signal.aborted))
      this.startBrain();
  }

  private statusOf(id: string): string {
    const state = this.state(id);
    return "status" in state ? state.status : state.phase;
  }

  private isAtRest(): boolean {
    return this.wakes.isEmpty && this.sessionIds.every((id) => this.isResting(id));
  }

  private isResting(id: string): boolean {
    const state = this.state(id);
    if (state.phase === "closed") return true;
    if (state.phase === "acting") return false; // the client still owes an answer
    return state.phase === "resting" && state.status === "idle" && state.inbox.length === 0;
  }

  private judge(): void {
    for (const id of this.sessionIds) {
      const log = decoded(this.log.session(id).events);
      const status = this.isResting(id) && this.wakes.isEmpty ? this.statusOf(id) : "not at rest";
      this.watch.atRest(id, log, status);
    }
  }
}

/** A stream over the network: it may never open, and may break between any two items. */
async function* through<T>(
  process: Process,
  site: string,
  open: () => Pipe<{ item: Item }>,
  signal: AbortSignal | undefined,
  message: (item: { item: Item }) => T,
): AsyncGenerator<T> {
  const local = new Pipe<{ item: Item }>();
  const abort = () => local.close(new AppError("cancelled", { reason: "CANCELLED", message: "cancelled" }));
  signal?.addEventListener("abort", abort, { once: true });
  const remote = await process.call(site, open, signal);
  void (async () => {
    try {
      for await (const item of remote) process.deliver(() => local.push(item));
      process.deliver(() => local.close());
    } catch (error) {
      process.deliver(() => local.close(error));
    }
  })();
  for await (const item of local) {
    if (process.mayCrash(`${site}: ${item.item.case}`)) return await new Promise<never>(() => undefined);
    yield message(item);
  }
}

function decoded(events: readonly Event[]): SessionEvent[] {
  return events.map(decodeEvent).filter((event): event is SessionEvent => !("unknown" in event));
}

function describe(event: SessionEvent): string {
  const { id, type, position: _, at: __, epoch: ___, ...rest } = event;
  return `${type} ${id} ${JSON.stringify(rest).slice(0, 160)}`;
}

/** The type of the last event that is not the announcement of a request, which is stored with the results it is made of. */
function lastFact(events: readonly { readonly type: string }[]): string {
  return events.findLast((event) => event.type !== "span.model_request_start")?.type ?? "";
}
