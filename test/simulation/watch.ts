/**
 * The invariants, checked while a world runs. V1 positions are gapless. V2 no operation is run twice. V3 every tool use
 * has exactly one result before the next model request, and at most one ever. V4 nothing runs whose intent is not in the
 * log, nor without consent, nor after its result was told. V5 a brain that has read a newer epoch writes and runs nothing under its old one. V6 a result says what is true.
 * V7 a context is how the one before began. V8 every message is shown to the model unless the user took it back.
 * V9 at most `parallelTools` operations are open. V10 once faults stop everything comes to rest, idle. V11 what was
 * acknowledged is in the log. V12 a brain drives at most as many sessions as it may.
 * V13 a request whose answer counts was shown every answer and result that the log holds before it.
 */
import type { Limits, ModelRequest, SessionEvent } from "@manyhands/core";

interface Use {
  answered: boolean;
  dispatched: boolean;
  /** What its result said; UNKNOWN leaves everything open. */
  outcome?: string;
  /** Of an MCP server: one that was stopped may still come to an end there. */
  isOutside: boolean;
  /** False until the user said yes, where that is needed, and for ever where the server or the user said no. */
  allowed: boolean;
}

/** What is known of one session. */
class Watched {
  readonly uses = new Map<string, Use>();
  readonly messages = new Map<string, number>();
  /** Context positions of model requests that were answered. */
  shownTo = 0;
  /** Position after the newest answer or result. */
  saidTo = 0;
  head = 0;
  epoch = 0;
  interrupted = false;
  brain = "";
  /** True while the log says that the model is being asked by the brain that holds the session. */
  isAsking = false;
  longest: readonly string[] = [];
  readonly unannounced = new Map<string, readonly string[]>();
}

/** What a world saw. */
export class Watch {
  readonly violations: string[] = [];
  readonly runs = new Map<string, number>();
  private readonly sessions = new Map<string, Watched>();
  /** Newest epoch that a brain was told of, by brain and session. */
  private readonly told = new Map<string, number>();
  private readonly acked = new Map<string, string>();
  private readonly limits: Limits;

  constructor(limits: Limits) {
    this.limits = limits;
  }

  violated(rule: string, text: string): void {
    this.violations.push(`${rule} ${text}`);
  }

  /** A frame was stored. */
  stored(sessionId: string, events: readonly SessionEvent[]): void {
    const session = this.of(sessionId);
    for (const event of events) {
      if (event.position !== session.head)
        this.violated("V1", `${sessionId}: position ${event.position} at ${session.head}`);
      session.head = event.position + 1;
      this.storedOne(sessionId, session, event);
    }
  }

  /** An operation is run. */
  ran(sessionId: string, operationId: string): void {
    const times = (this.runs.get(operationId) ?? 0) + 1;
    this.runs.set(operationId, times);
    if (times > 1) this.violated("V2", `${operationId} was run ${times} times`);
    const use = this.of(sessionId).uses.get(operationId);
    if (use?.dispatched !== true) this.violated("V4", `${operationId} runs without its intent in the log`);
    if (use?.allowed !== true) this.violated("V4", `${operationId} runs without consent`);
    const isOpen = use?.outcome === "UNKNOWN" || (use?.isOutside === true && use.outcome === "KILLED");
    if (use?.answered === true && !isOpen) this.violated("V4", `${operationId} runs after its result was told`);
  }

  /** A brain was told that events are stored. */
  acknowledged(sessionId: string, ids: readonly string[]): void {
    for (const id of ids) this.acked.set(id, sessionId);
  }

  /** A brain was told of an epoch of another one. */
  tell(brain: string, sessionId: string, epoch: number): void {
    const key = `${brain} ${sessionId}`;
    this.told.set(key, Math.max(this.told.get(key) ?? 0, epoch));
  }

  /** A brain acts under an epoch. */
  acts(brain: string, sessionId: string, epoch: number, what: string): void {
    const known = this.told.get(`${brain} ${sessionId}`) ?? 0;
    if (epoch !== 0 && epoch < known) this.violated("V5", `${brain} ${what} under epoch ${epoch}, knowing of ${known}`);
  }

  /**
   * A request reaches the model. It may do so before the log knows of it; one that the log never comes to know of may
   * have been shown input that another brain was not, and binds nobody.
   */
  asked(brain: string, sessionId: string, request: ModelRequest): void {
    const session = this.of(sessionId);
    const { messages } = request;
    this.wellFormed(sessionId, messages);
    const blocks = messages.flatMap((turn) => turn.content.map((block) => `${turn.role} ${blockText(block)}`));
    const before = session.longest;
    const differs = blocks.findIndex((block, at) => at < before.length && block !== before[at]);
    if (differs >= 0) this.violated("V7", `${sessionId}: block ${differs} of a context is not what it was before`);
    if (session.isAsking && session.brain === brain) session.longest = blocks;
    else session.unannounced.set(brain, blocks);
  }

  /** The end: everything must be at rest. */
  atRest(sessionId: string, log: readonly SessionEvent[], status: string): void {
    const session = this.of(sessionId);
    const ids = new Set(log.map((event) => event.id));
    const lost = [...this.acked].filter(([id, of]) => of === sessionId && !ids.has(id));
    if (lost.length > 0) this.violated("V11", `${sessionId}: ${lost.length} acknowledged events are not in the log`);
    if (status !== "idle" && status !== "closed") this.violated("V10", `${sessionId} is ${status} at the end`);
    if (status === "closed") return;
    const open = [...session.uses].filter(([, use]) => !use.answered).map(([id]) => id);
    if (open.length > 0) this.violated("V3", `${sessionId}: ${open.join(", ")} have no result at the end`);
    const isFlushed = log.some(
      (event) =>
        event.type === "user.interrupt" ||
        (event.type === "session.status_idle" && event.stop_reason.type === "retries_exhausted"),
    );
    const unseen = [...session.messages.values()].filter((position) => position >= session.shownTo);
    if (unseen.length > 0 && !isFlushed)
      this.violated("V8", `${sessionId}: message at ${unseen.join(", ")} was never shown`);
  }

  private storedOne(sessionId: string, session: Watched, event: SessionEvent): void {
    switch (event.type) {
      case "brain.woken":
        session.epoch = event.epoch;
        session.brain = event.instance_id;
        session.isAsking = false;
        break;
      case "span.model_request_end":
        session.isAsking = false;
        break;
      case "user.message":
        session.messages.set(event.id, event.position);
        break;
      case "agent.tool_use":
      case "agent.mcp_tool_use":
      case "agent.custom_tool_use":
        session.uses.set(event.id, {
          answered: false,
          dispatched: false,
          isOutside: event.type === "agent.mcp_tool_use",
          allowed: event.type !== "agent.custom_tool_use" && event.evaluated_permission === "allow",
        });
        break;
      case "user.tool_confirmation": {
        const use = session.uses.get(event.tool_use_id);
        if (use !== undefined && event.result === "allow") use.allowed = true;
        break;
      }
      case "operation.dispatched":
        this.dispatched(sessionId, session, event.operation_id);
        break;
      case "agent.tool_result":
        this.answered(sessionId, session, event.tool_use_id, event.outcome);
        this.isTrue(event.tool_use_id, event.outcome);
        break;
      case "agent.mcp_tool_result":
        this.answered(sessionId, session, event.mcp_tool_use_id, event.outcome);
        // A call that was stopped may not even have reached its server.
        if (event.outcome !== "KILLED") this.isTrue(event.mcp_tool_use_id, event.outcome);
        break;
      case "user.custom_tool_result": {
        const use = session.uses.get(event.custom_tool_use_id);
        if (use !== undefined) use.answered = true; // a second one came too late, and is ignored
        break;
      }
      case "span.model_request_start": {
        const open = [...session.uses].filter(([, use]) => !use.answered);
        if (open.length > 0)
          this.violated("V3", `${sessionId}: the model is asked while ${open.length} tool uses are open`);
        if (event.purpose === undefined && event.context_position < session.saidTo)
          this.violated("V13", `${sessionId}: ${event.id} was shown ${event.context_position} of ${session.saidTo}`);
        session.shownTo = Math.max(session.shownTo, event.context_position);
        session.isAsking = true;
        session.longest = session.unannounced.get(session.brain) ?? session.longest;
        session.unannounced.delete(session.brain);
        break;
      }
      default:
    }
    if (/^agent\.|_result$/.test(event.type)) session.saidTo = event.position + 1;
    if (event.epoch !== 0 && event.epoch < session.epoch)
      this.violated(
        "V5",
        `${sessionId}: position ${event.position} was stored under epoch ${event.epoch} of ${session.epoch}`,
      );
  }

  private dispatched(sessionId: string, session: Watched, id: string): void {
    const use = session.uses.get(id);
    if (use === undefined) this.violated("V4", `${sessionId}: intent ${id} has no tool use`);
    else use.dispatched = true;
    const open = [...session.uses.values()].filter((one) => one.dispatched && !one.answered).length;
    if (open > this.limits.parallelTools) this.violated("V9", `${sessionId}: ${open} operations are open`);
  }

  private answered(sessionId: string, session: Watched, id: string, outcome = ""): void {
    const use = session.uses.get(id);
    if (use === undefined) this.violated("V3", `${sessionId}: result for ${id}, which nobody asked for`);
    else if (use.answered) this.violated("V3", `${sessionId}: a second result for ${id}`);
    else Object.assign(use, { answered: true, outcome });
  }

  private isTrue(id: string, outcome: string): void {
    const times = this.runs.get(id) ?? 0;
    if (outcome === "COMPLETED" && times === 0) this.violated("V6", `${id} is told as completed and never ran`);
    if (outcome === "NOT_STARTED" && times > 0) this.violated("V6", `${id} is told as not started and ran`);
    if (outcome === "KILLED" && times === 0) this.violated("V6", `${id} is told as killed and never ran`);
  }

  private wellFormed(sessionId: string, messages: ModelRequest["messages"]): void {
    for (const [at, turn] of messages.entries()) {
      if (turn.role !== "assistant") continue;
      const uses = turn.content.filter((block) => block.type === "tool_use").map((block) => block.id);
      const results = (messages[at + 1]?.content ?? [])
        .filter((block) => block.type === "tool_result")
        .map((block) => block.tool_use_id);
      if (JSON.stringify(uses) !== JSON.stringify(results))
        this.violated("V3", `${sessionId}: turn ${at} has uses ${uses} and results ${results}`);
    }
  }

  private of(sessionId: string): Watched {
    const known = this.sessions.get(sessionId) ?? new Watched();
    this.sessions.set(sessionId, known);
    return known;
  }
}

/** The mark of what may be cached moves with the tail. */
function blockText(block: object): string {
  return JSON.stringify(block, (key, value: unknown) => (key === "cache_control" ? undefined : value));
}
