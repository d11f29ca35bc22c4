/** One simulated platform: brains with the real loop, a log, hands, MCP, a wake queue, a model, clients, and one seed. */
import type { JsonObject, NewEvent } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import { encodeEvent } from "@manyhands/protocol";
import type { Driver } from "../../services/harness/src/loop/drive-wakes.ts";
import { brainPorts, type Services } from "./brain-ports.ts";
import { rowsOfDeath } from "./death.ts";
import { type Faults, faultsOf } from "./faults.ts";
import { HandLedger, type SimHand } from "./hand-ledger.ts";
import type { startBrain } from "./loop-under-test.ts";
import { Process } from "./process.ts";
import { Scheduler } from "./scheduler.ts";
import { SessionLogs } from "./session-logs.ts";
import { SimClient } from "./sim-client.ts";
import { type Stage, simLimits } from "./stage.ts";
import { mcpServer, mcpTools, ToolProxies } from "./tool-proxies.ts";
import { WakeQueue } from "./wake-queue.ts";
import { Watch } from "./watch.ts";

const rescanMs = 2_000;
const pauseMs = { from: 1_000, to: 6_000 };
const restartMs = { from: 50, to: 1_500 };
const recordAgainMs = 100;
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
  /** Sessions it may drive at once. */
  readonly places: number;
  free(): void;
}

/** One world; run it once. */
export class World implements Stage {
  readonly watch = new Watch(simLimits);
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  private readonly visits = new Map<string, number>();
  private readonly logs: SessionLogs;
  private readonly hands: HandLedger;
  private readonly wakes: WakeQueue;
  private readonly proxies: ToolProxies;
  private readonly client: SimClient;
  private readonly brains = new Map<string, Brain>();
  private readonly start: typeof startBrain;
  private readonly trace: ((line: string) => void) | undefined;
  private ids = 0;
  private lives = 0;
  private isCalm = false;

  constructor(seed: number, start: typeof startBrain, trace?: (line: string) => void) {
    this.scheduler = new Scheduler(seed);
    this.faults = faultsOf(this.scheduler);
    this.start = start;
    this.trace = trace;
    const onFailed = (brain: string, sessionId: string, error: unknown) => {
      this.visited("wake given back");
      this.note(() => `${brain} gives ${sessionId} back: ${String(error instanceof Error ? error.stack : error)}`);
    };
    const takers = () =>
      [...this.brains.values()].flatMap(({ process, driver }) => (driver ? [{ process, driver }] : []));
    this.wakes = new WakeQueue(this.scheduler, onFailed, takers);
    this.logs = new SessionLogs(this, this.wakes);
    this.hands = new HandLedger(this.scheduler, this.faults, {
      onRun: (hand, id, epoch) => {
        this.note(() => `run ${id} in ${hand.id}`);
        if (epoch < hand.epoch) this.watch.violated("V5", `${id} is run under epoch ${epoch} of ${hand.epoch}`);
        this.watch.ran(hand.sessionId, id);
      },
      visited: this.visited,
    });
    this.proxies = new ToolProxies(this);
    const isRunning = (sessionId: string) => this.hands.isRunning(sessionId);
    this.client = new SimClient(this, { logs: this.logs, isRunning });
  }

  /** Storm, then calm, until everything is at rest. */
  async run(): Promise<RunOfSeed> {
    const { scheduler } = this;
    const random = Math.random;
    Math.random = scheduler.random; // jitter of retries
    try {
      const sessions = scheduler.chance(0.2) ? 3 : scheduler.between(1, 2);
      for (let n = 0; n < sessions; n += 1) {
        this.logs.create(`sesn_${n}`, agentOf(scheduler.chance(0.4)));
        this.client.talk(`sesn_${n}`);
      }
      const brains = scheduler.between(1, 3);
      for (let n = 0; n < brains; n += 1) this.startBrain();
      this.rescan();
      this.strike();
      const calmAt = scheduler.nowMs + scheduler.between(2_000, 8_000);
      let steps = 0;
      for (; steps < maxSteps; steps += 1) {
        if (!this.isCalm && scheduler.nowMs >= calmAt && this.client.left === 0) this.calmDown();
        if (this.isCalm && steps % 16 === 0 && this.isAtRest()) break;
        if (scheduler.nowMs > calmAt + calmMs || this.watch.violations.length > 0) break;
        if (!(await scheduler.step())) break;
      }
      if (this.watch.violations.length === 0) this.judge();
      const events = this.logs.ids.reduce((sum, id) => sum + this.logs.stored(id).length, 0);
      return { violations: this.watch.violations, steps, events, visits: this.visits };
    } finally {
      for (const brain of this.brains.values()) brain.free();
      Math.random = random;
    }
  }

  readonly note = (line: () => string): void => {
    this.trace?.(`${String(this.scheduler.nowMs - 1_700_000_000_000).padStart(7)} ${line()}`);
  };

  readonly visited = (what: string): void => {
    this.visits.set(what, (this.visits.get(what) ?? 0) + 1);
    this.note(() => `* ${what}`);
  };

  readonly newId = (prefix: string): string => {
    this.ids += 1;
    return `${prefix}_${this.ids}`;
  };

  // ------------------------------------------------------------------ brains

  private startBrain(): void {
    this.lives += 1;
    const name = `brain-${this.lives}`;
    const stop = new AbortController();
    const process: Process = new Process(name, this.scheduler, this.faults, (site) => this.crashed(name, site));
    const places = this.scheduler.chance(0.5) ? this.scheduler.between(1, 2) : 8;
    const brain: Brain = { process, stop, places, free: () => undefined };
    this.brains.set(name, brain);
    this.note(() => `${name} starts`);
    const { logs, wakes, hands, proxies } = this;
    const services: Services = { logs, wakes, hands, proxies, isCalm: () => this.isCalm };
    this.start({ ...brainPorts(this, services, process, stop), concurrency: places }).then(
      ({ driver, stop: free }) => {
        if (this.brains.get(name) === brain) this.brains.set(name, { ...brain, driver, free });
        else free();
      },
      () => undefined,
    );
  }

  private crashed(name: string, site: string): void {
    this.visited(`crash ${site}`);
    const operations = {
      isRunning: (sessionId: string) => this.hands.isRunning(sessionId),
      wasRun: (operationId: string) => this.watch.runs.has(operationId),
    };
    for (const sessionId of this.logs.ids) {
      for (const row of rowsOfDeath(this.logs, operations, { sessionId, brain: name, site })) this.visited(row);
    }
    this.brains.get(name)?.free();
    this.brains.delete(name);
    this.scheduler.after(this.scheduler.between(restartMs.from, restartMs.to), () => this.startBrain());
  }

  // ------------------------------------------------------------------ fate

  /** Session-store's look at sessions that should be moving and are not. */
  private rescan(): void {
    for (const id of this.logs.ids) {
      const isQuiet = this.logs.quietMs(id) >= rescanMs;
      const isStalled = isQuiet && ["running", "rescheduling"].includes(this.logs.status(id));
      if (isStalled && !this.wakes.has(id)) this.wakes.publish(id);
    }
    this.scheduler.after(rescanMs, () => this.rescan());
  }

  /** Faults that strike by themselves. */
  private strike(): void {
    const { scheduler, faults } = this;
    this.countDrives();
    if (this.isCalm) return;
    if (scheduler.chance(faults.managerCrash)) this.hands.crashManager();
    if (scheduler.chance(faults.managerBusAway)) this.hands.loseBus(scheduler.nowMs + scheduler.between(100, 6_000));
    if (scheduler.chance(faults.engineLost)) this.hands.loseEngine();
    const hand = scheduler.pick([...this.hands.hands.values()]);
    if (hand !== undefined && scheduler.chance(faults.handLost)) this.hands.loseHand(hand);
    if (hand !== undefined && scheduler.chance(faults.handPassed)) this.passHand(hand);
    if (scheduler.chance(faults.leaderGap)) this.logs.loseLeader(scheduler.nowMs + scheduler.between(200, 4_000));
    this.proxies.strike();
    const brain = scheduler.pick([...this.brains.values()]);
    if (brain !== undefined && scheduler.chance(faults.pause)) {
      const { name } = brain.process;
      this.note(() => `${name} stops`);
      brain.process.pause(scheduler.between(pauseMs.from, pauseMs.to), () => this.note(() => `${name} goes on`));
    }
    if (brain !== undefined && scheduler.chance(faults.pause / 4)) this.drain(brain);
    scheduler.after(100, () => this.strike());
  }

  /** One more than it has places may be there for an interrupt. */
  private countDrives(): void {
    for (const { process, driver, places } of this.brains.values()) {
      const count = driver?.inWork() ?? 0;
      if (count <= places) continue;
      const isInterrupted = this.logs.ids.some((id) =>
        this.logs.events(id).some((event) => event.type === "user.interrupt"),
      );
      if (count > places + (isInterrupted ? 1 : 0))
        this.watch.violated("V12", `${process.name} drives ${count} sessions, and has ${places} places`);
    }
  }

  /** A hand becomes another session's, and both logs are told, as sandbox-manager does it. */
  private passHand(hand: SimHand): void {
    const { sessionId: from, id: hand_id, generation } = hand;
    const to = this.scheduler.pick(this.logs.ids.filter((id) => id !== from && this.logs.state(id).phase !== "closed"));
    if (to === undefined || !this.hands.pass(hand, to)) return;
    this.note(() => `${hand_id} of ${from} is ${to}'s now`);
    const made = { name: "default", driver: "sim", not_isolated: [], recipe: {}, generation };
    this.record(to, { id: this.newId("sevt"), type: "hand.provisioned", hand_id, ...made });
    this.record(from, { id: this.newId("sevt"), type: "hand.released", hand_id, reason: "transferred" });
  }

  /** Written by the platform itself, until it is stored or the session is closed. */
  private record(sessionId: string, event: NewEvent): void {
    try {
      this.logs.emit({ sessionId, events: [encodeEvent(event)], epoch: 0n, requestId: "" });
    } catch (error) {
      if (!(error instanceof AppError) || error.kind !== "unavailable") return;
      this.scheduler.after(recordAgainMs, () => this.record(sessionId, event));
    }
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
    this.note(() => "faults stop");
    for (const key of Object.keys(this.faults) as (keyof Faults)[]) this.faults[key] = 0;
    if (this.brains.size === 0 || [...this.brains.values()].every((brain) => brain.stop.signal.aborted))
      this.startBrain();
  }

  private isAtRest(): boolean {
    return this.wakes.isEmpty && this.logs.ids.every((id) => this.isResting(id));
  }

  private isResting(id: string): boolean {
    const state = this.logs.state(id);
    if (state.phase === "closed") return true;
    if (state.phase === "acting") return false; // the client still owes an answer
    return state.phase === "resting" && state.status === "idle" && state.inbox.length === 0;
  }

  private judge(): void {
    for (const id of this.logs.ids) {
      const status = this.isResting(id) && this.wakes.isEmpty ? this.logs.status(id) : "not at rest";
      this.watch.atRest(id, this.logs.events(id), status);
    }
  }
}

/** The agent of a session, with an MCP server or without. */
function agentOf(hasServer: boolean): JsonObject {
  const configs = [{ name: mcpTools[0], permission_policy: { type: "always_allow" } }];
  const outside = hasServer ? [{ type: "mcp_toolset", mcp_server_name: mcpServer, configs }] : [];
  const write = { name: "write", permission_policy: { type: "always_ask" } };
  const lookup = { type: "custom", name: "lookup", description: "Looks up.", input_schema: { type: "object" } };
  return { tools: [{ type: "agent_toolset_20260401", configs: [write] }, lookup, ...outside] };
}
