/** What one brain is busy with for one session: at most one model request, one provisioning, and some operations. */
import {
  type AgentConfig,
  type Call,
  isHandTool,
  isServerTool,
  type JsonObject,
  judgeTool,
  type Limits,
  type LivingState,
  type ModelRequest,
  type NewEvent,
  objectOf,
  type Recorded,
  type SessionEvent,
  type UnknownEvent,
} from "@manyhands/core";
import type { Clock, IdSource } from "@manyhands/kit";
import type { Delta } from "@manyhands/protocol";
import { callModel } from "../effects/call-model.ts";
import { createDeltaPublisher } from "../effects/delta-publisher.ts";
import { type Guess, guessHand } from "../effects/guess-hand.ts";
import { provisionHand } from "../effects/provision.ts";
import { runOperation, type Sandboxes } from "../effects/run-operation.ts";
import type { Pass } from "../fault-points.ts";
import { callMcp, type McpPorts } from "../mcp/call-mcp.ts";
import { listMcp } from "../mcp/list-mcp.ts";
import type { Model } from "../model/model.ts";
import { runServerTool, type ServerTools } from "../server-tools/server-tools.ts";
import type { Message } from "./mailbox.ts";

/** The task that lists tools of MCP servers. */
export const mcpKey = "mcp";

/** A model request in flight, or answered and not taken yet. */
export interface ModelTask {
  readonly start: NewEvent<"span.model_request_start">;
  readonly answer: readonly Recorded[] | undefined;
  /** The brain is known to hold the session: previews may go out, and a hand may be asked for on a guess. */
  claim(session: Claimed): void;
}

/** A session as its brain holds it. */
export interface Claimed {
  readonly state: LivingState;
  readonly epoch: number;
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
  /** Asks which tools the agent's MCP servers offer; reports what `log` does not have yet, under the key `mcp`. */
  listMcp(agent: AgentConfig, log: readonly (SessionEvent | UnknownEvent)[]): void;
  /** `options` is what the agent's configuration says about the tool. */
  operate(call: Call, epoch: number, mode: "start" | "follow", options?: JsonObject): void;
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
  /** How MCP servers are reached; absent means that none can be. */
  readonly mcp?: McpPorts;
  /** Tools that run outside any hand, by name; absent means none is served. */
  readonly serverTools?: ServerTools;
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
  private isListing = false;
  private running: RunningModel | undefined;
  private guess: Guess | undefined;

  constructor(ports: TaskPorts, sessionId: string, push: (message: Message) => void) {
    this.ports = ports;
    this.sessionId = sessionId;
    this.push = push;
  }

  inFlight(): ReadonlySet<string> {
    const keys = new Set(this.operations.keys());
    if (this.isProvisioning) keys.add("provision");
    if (this.isListing) keys.add(mcpKey);
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
    this.guess?.drop();
    this.guess = undefined;
    // A guess takes both: a tool use has begun, and the brain is known to hold the session.
    let needsHand = false;
    let claimed: Claimed | undefined;
    const guess = () => {
      if (!needsHand || claimed === undefined || this.guess !== undefined || this.gone.signal.aborted) return;
      if (claimed.state.hand !== undefined || claimed.state.granted !== undefined || abort.signal.aborted) return;
      if (objectOf(claimed.state.environment.config).type === "self_hosted") return; // its workers come by themselves
      this.guess = guessHand(this.ports.sandboxes, { id: this.sessionId, ...claimed });
    };
    const claim = (session: Claimed) => {
      deltas.open();
      claimed = session;
      guess();
    };
    const task: RunningModel = { start: init.start, answer: undefined, abort, claim };
    this.running = task;
    const call = {
      sessionId: this.sessionId,
      agent: init.agent,
      request: init.request,
      start: init.start,
      attempt: init.attempt,
      limits,
      deltas,
      toolUse: (name: string) => {
        needsHand ||= runsInHand(init.agent, name);
        guess();
      },
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

  listMcp(agent: AgentConfig, log: readonly (SessionEvent | UnknownEvent)[]): void {
    if (this.isListing || this.ports.mcp === undefined) return;
    this.isListing = true;
    listMcp(this.ports.mcp, this.sessionId, agent, log, this.gone.signal).then(
      (events) => this.push({ type: "facts", key: mcpKey, events }),
      (error: unknown) => this.failed(mcpKey, error),
    );
  }

  provision(state: LivingState, epoch: number): void {
    if (this.isProvisioning) return;
    this.isProvisioning = true;
    this.guess?.used();
    const session = { id: this.sessionId, state, epoch, signal: this.gone.signal };
    provisionHand(this.ports, session).then(
      (events) => this.push({ type: "facts", key: "provision", events: [...events] }),
      (error: unknown) => this.failed("provision", error),
    );
  }

  operate(call: Call, epoch: number, mode: "start" | "follow", options: JsonObject = {}): void {
    this.start(call, epoch, mode, options);
  }

  cancel(calls: readonly Call[], epoch: number): void {
    for (const call of calls) (this.operations.get(call.id) ?? this.start(call, epoch, "follow", {}))?.abort();
  }

  ended(key: string): void {
    if (key === "provision") this.isProvisioning = false;
    else if (key === mcpKey) this.isListing = false;
    else if (key === "model") this.running = undefined;
    else this.operations.delete(key);
  }

  detach(): void {
    this.gone.abort();
    this.guess?.drop();
    this.dropModel();
  }

  private start(call: Call, epoch: number, mode: "start" | "follow", options: JsonObject): AbortController | undefined {
    const { progress } = call;
    if (progress.at !== "dispatched" || this.operations.has(call.id)) return undefined;
    const cancel = new AbortController();
    this.operations.set(call.id, cancel);
    if (call.kind === "mcp" && this.ports.mcp !== undefined) {
      this.callMcp(this.ports.mcp, call, cancel.signal);
      return cancel;
    }
    if (call.kind === "agent" && isServerTool(call.name)) {
      this.runServerTool(call, options, cancel.signal);
      return cancel;
    }
    const { at: _, ...intent } = progress;
    runOperation(this.ports, {
      sessionId: this.sessionId,
      call,
      ...intent,
      epoch,
      mode,
      timeoutMs: timeoutOf(call, this.ports.limits),
      maxAttempts: this.ports.limits.operationAttempts,
      outputBytes: this.ports.limits.outputBytes,
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

  /** Following one means asking again: its receipt knows whether it was made. */
  private callMcp(ports: McpPorts, call: Call, cancel: AbortSignal): void {
    const { limits } = this.ports;
    const { outputBytes, operationTimeoutMs: timeoutMs } = limits;
    const mcp = { sessionId: this.sessionId, call, timeoutMs, outputBytes, detach: this.gone.signal, cancel };
    callMcp(ports, mcp).then(
      (events) => this.push({ type: "facts", key: call.id, events }),
      (error: unknown) => this.failed(call.id, error),
    );
  }

  /** Following one means running it again: it only reads. */
  private runServerTool(call: Call, options: JsonObject, cancel: AbortSignal): void {
    const use = { sessionId: this.sessionId, options, outputBytes: this.ports.limits.outputBytes };
    runServerTool(this.ports.serverTools ?? {}, call, use, { detach: this.gone.signal, cancel }).then(
      (events) => this.push({ type: "facts", key: call.id, events }),
      (error: unknown) => this.failed(call.id, error),
    );
  }

  private failed(key: string, error: unknown): void {
    if (!this.gone.signal.aborted) this.push({ type: "failed", key, error });
  }
}

/** True where a use of the tool will ask for a hand without anybody being asked first. */
function runsInHand(agent: AgentConfig, name: string): boolean {
  const verdict = judgeTool(agent, name);
  return isHandTool(name) && verdict.kind === "agent" && verdict.permission === "allow";
}

/** The tool's own timeout where it has one, within the limit. */
function timeoutOf(call: Call, limits: Limits): number {
  const asked = call.input.timeout_ms;
  const isAsked = typeof asked === "number" && Number.isInteger(asked) && asked > 0;
  return isAsked ? Math.min(asked, limits.operationTimeoutMs) : limits.operationTimeoutMs;
}
