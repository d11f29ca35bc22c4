/** What one brain is busy with for one session: at most one model request, one provisioning, and some operations. */
import type { AgentConfig, Call, Limits, LivingState, ModelRequest, NewEvent, Recorded } from "@manyhands/core";
import type { Clock, IdSource } from "@manyhands/kit";
import type { Delta } from "@manyhands/protocol";
import { callModel } from "../effects/call-model.ts";
import { createDeltaPublisher } from "../effects/delta-publisher.ts";
import { provisionHand } from "../effects/provision.ts";
import { runOperation, type Sandboxes } from "../effects/run-operation.ts";
import type { Pass } from "../fault-points.ts";
import type { Model } from "../model/model.ts";
import type { Message } from "./mailbox.ts";

/** A model request in flight, or answered and not taken yet. */
export interface ModelTask {
  readonly start: NewEvent<"span.model_request_start">;
  readonly answer: readonly Recorded[] | undefined;
  /** The brain is known to hold the session: previews may go out. */
  claim(): void;
}

/** What a model task is made of. */
export interface ModelTaskInit {
  readonly start: NewEvent<"span.model_request_start">;
  readonly agent: AgentConfig;
  readonly request: ModelRequest;
  readonly attempt: number;
}

/** The tasks of one runner. Starting one that runs already changes nothing. */
export interface Tasks {
  inFlight(): ReadonlySet<string>;
  model(): ModelTask | undefined;
  callModel(init: ModelTaskInit): void;
  /** Ends the request if it runs, and forgets it. */
  dropModel(): void;
  provision(state: LivingState, epoch: number): void;
  operate(call: Call, epoch: number, mode: "start" | "follow"): void;
  /** Stops operations, following those that another brain started. */
  cancel(calls: readonly Call[], epoch: number): void;
  /** A task has reported. */
  ended(key: string): void;
  /** Lets go of everything: operations run on, the model request is cut. */
  detach(): void;
}

/** What tasks need from outside. */
export interface TaskPorts {
  readonly model: Model;
  readonly sandboxes: Sandboxes;
  readonly clock: Clock;
  readonly newId: IdSource;
  readonly limits: Limits;
  readonly pass: Pass;
  readonly publishDelta: (sessionId: string, delta: Delta) => void;
  readonly deltaIntervalMs: number;
}

/** The tasks of a session; each reports once by `push`. */
export function createTasks(ports: TaskPorts, sessionId: string, push: (message: Message) => void): Tasks {
  return new SessionTasks(ports, sessionId, push);
}

interface RunningModel extends ModelTask {
  answer: readonly Recorded[] | undefined;
  readonly abort: AbortController;
}

class SessionTasks implements Tasks {
  private readonly ports: TaskPorts;
  private readonly sessionId: string;
  private readonly push: (message: Message) => void;
  private readonly gone = new AbortController();
  private readonly operations = new Map<string, AbortController>();
  private isProvisioning = false;
  private running: RunningModel | undefined;

  constructor(ports: TaskPorts, sessionId: string, push: (message: Message) => void) {
    this.ports = ports;
    this.sessionId = sessionId;
    this.push = push;
  }

  inFlight(): ReadonlySet<string> {
    const keys = new Set(this.operations.keys());
    if (this.isProvisioning) keys.add("provision");
    if (this.running !== undefined) keys.add("model");
    return keys;
  }

  model(): ModelTask | undefined {
    return this.running;
  }

  callModel(init: ModelTaskInit): void {
    const { model, limits, pass, publishDelta, deltaIntervalMs, clock } = this.ports;
    const deltas = createDeltaPublisher((delta) => publishDelta(this.sessionId, delta), deltaIntervalMs, clock);
    const abort = new AbortController();
    const task: RunningModel = { start: init.start, answer: undefined, abort, claim: deltas.open };
    this.running = task;
    const call = {
      sessionId: this.sessionId,
      agent: init.agent,
      request: init.request,
      startId: init.start.id,
      attempt: init.attempt,
      limits,
      deltas,
      signal: abort.signal,
    };
    callModel(model, pass, call).then(
      (answer) => {
        task.answer = answer;
        this.push({ type: "news", head: 0 });
      },
      (error: unknown) => {
        deltas.close();
        if (!abort.signal.aborted) this.push({ type: "failed", key: "model", error });
      },
    );
  }

  dropModel(): void {
    this.running?.abort.abort();
    this.running = undefined;
  }

  provision(state: LivingState, epoch: number): void {
    if (this.isProvisioning) return;
    this.isProvisioning = true;
    const session = { id: this.sessionId, state, epoch, signal: this.gone.signal };
    provisionHand(this.ports, session).then(
      (event) => this.push({ type: "facts", key: "provision", events: [event] }),
      (error: unknown) => this.failed("provision", error),
    );
  }

  operate(call: Call, epoch: number, mode: "start" | "follow"): void {
    this.start(call, epoch, mode);
  }

  cancel(calls: readonly Call[], epoch: number): void {
    for (const call of calls) (this.operations.get(call.id) ?? this.start(call, epoch, "follow"))?.abort();
  }

  ended(key: string): void {
    if (key === "provision") this.isProvisioning = false;
    else if (key === "model") this.running = undefined;
    else this.operations.delete(key);
  }

  detach(): void {
    this.gone.abort();
    this.dropModel();
  }

  private start(call: Call, epoch: number, mode: "start" | "follow"): AbortController | undefined {
    const { progress } = call;
    if (progress.at !== "dispatched" || this.operations.has(call.id)) return undefined;
    const { limits } = this.ports;
    const cancel = new AbortController();
    this.operations.set(call.id, cancel);
    runOperation(this.ports, {
      call,
      handId: progress.handId,
      epoch,
      attempt: progress.attempt,
      mode,
      timeoutMs: timeoutOf(call, limits),
      maxAttempts: limits.operationAttempts,
      outputBytes: limits.outputBytes,
      detach: this.gone.signal,
      cancel: cancel.signal,
    }).then(
      (end) =>
        this.push(
          end.type === "answered"
            ? { type: "facts", key: call.id, events: end.events }
            : { type: "sendAgain", key: call.id, operationId: call.id },
        ),
      (error: unknown) => this.failed(call.id, error),
    );
    return cancel;
  }

  private failed(key: string, error: unknown): void {
    if (!this.gone.signal.aborted) this.push({ type: "failed", key, error });
  }
}

/** The tool's own timeout where it has one, within the limit. */
function timeoutOf(call: Call, limits: Limits): number {
  const asked = call.input.timeout_ms;
  const isAsked = typeof asked === "number" && Number.isInteger(asked) && asked > 0;
  return isAsked ? Math.min(asked, limits.operationTimeoutMs) : limits.operationTimeoutMs;
}
