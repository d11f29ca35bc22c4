/**
 * Runs a session without any I/O: a script of numbers chooses what the model, the tools, the client and fate do. Every
 * log it writes is one that the real shell could have written, so properties over scripts are properties over logs.
 */
import type { Action } from "../actions.ts";
import { decide, type View } from "../decide.ts";
import type { SessionEvent } from "../events.ts";
import { evolve } from "../evolve.ts";
import type { Limits } from "../limits.ts";
import { failureEvents, type ResponseBlock, responseEvents } from "../model-response.ts";
import { followUp, resultDraft, unknownOutcome } from "../recovery.ts";
import { type Call, emptyState, type State } from "../state.ts";
import { buildTurns, type ModelTurn } from "../transcript.ts";
import { created, provisioned, said, startMs, stored, type Written } from "./test-log.ts";

/** What came of a run. */
export interface PureRun {
  events: SessionEvent[];
  state: State;
  /** How often each operation was really run. */
  runs: Map<string, number>;
  /** What the model was shown, request by request, with the epoch and time of the decision. */
  requests: { turns: ModelTurn[]; contextPosition: number }[];
  /** Every decision with what it was made from. */
  decisions: { view: View; action: Action }[];
}

/** Runs a script; `calm` numbers at its end let it come to rest. */
export function runPurely(script: readonly number[], limits: Limits): PureRun {
  const world = new World(limits);
  world.write([created()]);
  for (const choice of script) world.step(choice);
  const calm = 400;
  for (let n = 0; n < calm && world.settle(); n += 1) world.step(0);
  return world;
}

class World implements PureRun {
  events: SessionEvent[] = [];
  state: State = emptyState;
  runs = new Map<string, number>();
  requests: PureRun["requests"] = [];
  decisions: PureRun["decisions"] = [];
  private epoch = 0;
  private now = startMs;
  private readonly limits: Limits;
  private readonly inFlight = new Set<string>();
  private modelStart = "";
  private modelAttempt = 1;
  private sequence = 0;

  constructor(limits: Limits) {
    this.limits = limits;
  }

  write(events: readonly Written[]): void {
    for (const event of stored(
      events.map((draft) => ({ epoch: this.epoch, ...draft })),
      this.events.length,
    )) {
      this.events.push(event);
      this.state = evolve(this.state, event);
      this.now = Math.max(this.now, event.at);
    }
  }

  /** Odd things now and then; otherwise the brain's next step. */
  step(choice: number): void {
    const kind = choice % 16;
    if (kind === 1) this.write([said(`input ${this.sequence++}`)]);
    else if (kind === 2) this.client(choice);
    else if (kind === 3) this.crash();
    else if (kind === 4) this.write([{ type: "user.interrupt", epoch: 0 }]);
    else if (kind === 5 && this.inFlight.has("model")) this.failModel(choice);
    else if (kind >= 6 && kind <= 8) this.finishOne(choice);
    else this.brain(choice);
  }

  /** Helps a run to its end; false when it is at rest. */
  settle(): boolean {
    this.finishOne(0);
    this.now += this.limits.modelBackoffMaxMs;
    const last = this.decisions.at(-1);
    return last?.action.type !== "rest" || last.view.state !== this.state;
  }

  private brain(choice: number): void {
    if (this.epoch === 0) this.take();
    const view: View = {
      state: this.state,
      now: this.now,
      limits: this.limits,
      epoch: this.epoch,
      inFlight: new Set(this.inFlight),
    };
    const action = decide(view);
    this.decisions.push({ view, action });
    this.perform(action, choice);
  }

  private perform(action: Action, choice: number): void {
    switch (action.type) {
      case "append":
        this.write(action.events);
        break;
      case "callModel":
        this.callModel(action);
        break;
      case "provision":
        this.write([provisioned(`hand_${this.sequence++}`)]);
        break;
      case "operate":
        for (const call of action.start) this.start(call);
        for (const call of action.follow) this.follow(call, choice);
        break;
      case "cancel":
        for (const call of action.calls) {
          this.inFlight.delete(call.id);
          this.write([resultDraft(call, "KILLED", "stopped", true)]);
        }
        break;
      case "wait":
      case "rest":
        break;
    }
  }

  private callModel(action: Extract<Action, { type: "callModel" }>): void {
    const { contextPosition, attempt, closes } = action;
    this.requests.push({ turns: buildTurns(this.events, contextPosition), contextPosition });
    this.modelStart = `sevt_r${this.sequence++}`;
    this.modelAttempt = attempt;
    const close = closes === undefined ? [] : failureEvents(closes, { kind: "network", message: "" }, 1, this.limits);
    const start: Written = {
      id: this.modelStart,
      type: "span.model_request_start",
      model: "demo-1",
      context_position: contextPosition,
      attempt,
    };
    this.write([...close.slice(0, 1), start]);
    this.inFlight.add("model");
  }

  private start(call: Call): void {
    this.runs.set(call.id, (this.runs.get(call.id) ?? 0) + 1);
    this.inFlight.add(call.id);
  }

  /** What a hand would answer to Attach after a crash. */
  private follow(call: Call, choice: number): void {
    const hasRun = this.runs.has(call.id);
    const found = !hasRun ? "NOT_STARTED" : choice % 3 === 0 ? "UNKNOWN" : choice % 3 === 1 ? "RUNNING" : "COMPLETED";
    const attempt = call.progress.at === "dispatched" ? call.progress.attempt : 1;
    const next = followUp(found, attempt, this.limits.operationAttempts);
    if (next === "keepFollowing") this.inFlight.add(call.id);
    else if (next === "sendAgain") {
      const again = { operation_id: call.id, hand_id: "hand", attempt: attempt + 1 };
      this.write([{ type: "operation.dispatched", ...again }]);
    } else if (next === "sayUnknown") this.write([resultDraft(call, "UNKNOWN", unknownOutcome(call, false), true)]);
    else this.write([resultDraft(call, hasRun ? "COMPLETED" : "NOT_STARTED", "found", !hasRun)]);
  }

  private finishOne(choice: number): void {
    const [first] = this.inFlight;
    if (first === undefined) return;
    if (first === "model") {
      this.respond(choice);
      return;
    }
    this.inFlight.delete(first);
    const { state } = this;
    const call = state.phase === "acting" ? state.calls.find((candidate) => candidate.id === first) : undefined;
    if (call === undefined || call.progress.at !== "dispatched") return;
    const lost = choice % 5 === 4;
    if (lost) this.write([{ type: "hand.lost", hand_id: call.progress.handId, reason: "killed" }]);
    this.write([resultDraft(call, lost ? "UNKNOWN" : "COMPLETED", "ok", lost, call.progress.handId)]);
  }

  private respond(choice: number): void {
    this.inFlight.delete("model");
    const { state } = this;
    if (state.phase !== "asking" || state.request?.id !== this.modelStart) return; // interrupted meanwhile
    const tools = ["bash", "write", "lookup", "fly", "mcp__tickets__list"];
    const count = choice === 0 ? 0 : Math.floor(choice / 16) % 4;
    const blocks: ResponseBlock[] = [{ type: "text", id: `sevt_m${this.sequence++}`, text: "well" }];
    for (let n = 0; n < count; n += 1) {
      const name = tools[(choice + n) % tools.length] ?? "bash";
      blocks.push({ type: "tool_use", id: `sevt_c${this.sequence++}`, name, input: {} });
    }
    const stopReason = count === 0 ? "end_turn" : choice % 7 === 0 ? "max_tokens" : "tool_use";
    const usage = { input_tokens: 1, output_tokens: 1, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
    const response = { blocks, stopReason, usage, timeToFirstTokenMs: 1 };
    this.write(responseEvents(state.agent, this.modelStart, response, this.limits));
  }

  private failModel(choice: number): void {
    this.inFlight.delete("model");
    const { state } = this;
    if (state.phase !== "asking" || state.request?.id !== this.modelStart) return;
    const failure = { kind: choice % 3 === 0 ? "refused" : "overloaded", message: "no" } as const;
    this.write(failureEvents(this.modelStart, failure, this.modelAttempt, this.limits));
  }

  /** The client answers the first call that waits for it. */
  private client(choice: number): void {
    const { state } = this;
    const call = state.phase === "acting" ? state.calls.find((one) => one.progress.at === "waiting") : undefined;
    if (call?.progress.at !== "waiting") return;
    if (call.progress.for === "client") {
      this.write([{ type: "user.custom_tool_result", custom_tool_use_id: call.id, content: [], epoch: 0 }]);
    } else {
      const answer = choice % 3 === 0 ? "deny" : "allow";
      this.write([{ type: "user.tool_confirmation", tool_use_id: call.id, result: answer, epoch: 0 }]);
    }
  }

  private crash(): void {
    this.inFlight.clear();
    this.take();
  }

  private take(): void {
    this.epoch += 1;
    const brain = { harness_kind: "default", harness_version: "1.0.0", instance_id: "a" };
    this.write([{ type: "brain.woken", epoch: this.epoch, ...brain }]);
  }
}
