/** The user of a session: talks for a while, interrupts, deletes, answers what waits; each event until it is acknowledged. */
import type { NewEvent } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import { encodeEvent } from "@manyhands/protocol";
import type { SessionLogs } from "./session-logs.ts";
import type { Stage } from "./stage.ts";

/** What a client needs besides the stage. */
export interface ClientPorts {
  readonly logs: SessionLogs;
  /** True while an operation of the session runs. */
  isRunning(sessionId: string): boolean;
}

const retryMs = 100;

/** The clients of all sessions. */
export class SimClient {
  /** What they have not got rid of yet. */
  left = 0;
  private readonly stage: Stage;
  private readonly ports: ClientPorts;
  private readonly answered = new Set<string>();

  constructor(stage: Stage, ports: ClientPorts) {
    this.stage = stage;
    this.ports = ports;
  }

  /** A few words for one session, and answers for ever. */
  talk(sessionId: string): void {
    const { scheduler } = this.stage;
    const count = scheduler.between(1, 3);
    this.left += count;
    for (let n = 0; n < count; n += 1) {
      // Half of the time while the first turn is still young: then it meets the model's or a tool's answer.
      const soonMs = scheduler.chance(0.5) ? 250 : 4_000;
      scheduler.after(n === 0 ? 0 : scheduler.between(0, soonMs), () => {
        const event = this.words(n);
        if (event.type === "session.deleted" && this.ports.isRunning(sessionId)) this.stage.visited("CP29");
        this.send(sessionId, event, () => {
          this.left -= 1;
        });
      });
    }
    const answering = () => {
      this.answerWaiting(sessionId);
      scheduler.after(scheduler.between(50, 800), answering);
    };
    scheduler.after(300, answering);
  }

  private words(n: number): NewEvent {
    const { scheduler, newId } = this.stage;
    const isInterrupt = n > 0 && scheduler.chance(0.25);
    const isDeletion = n > 0 && scheduler.chance(0.05);
    const id = newId("sevt");
    if (isDeletion) return { id, type: "session.deleted" };
    if (isInterrupt) return { id, type: "user.interrupt" };
    return { id, type: "user.message", content: [{ type: "text", text: `message ${n}` }] };
  }

  private send(sessionId: string, event: NewEvent, done: () => void): void {
    const { scheduler, faults, visited } = this.stage;
    const again = (why: string) => {
      visited(why);
      scheduler.after(retryMs, () => this.send(sessionId, event, done));
    };
    if (scheduler.chance(faults.requestLost)) {
      again("CP1");
      return;
    }
    try {
      this.ports.logs.emit({ sessionId, events: [encodeEvent(event)], epoch: 0n, requestId: "" });
    } catch (error) {
      if (error instanceof AppError && error.kind === "unavailable") again("client: no leader");
      else done(); // the session is closed
      return;
    }
    if (scheduler.chance(faults.replyLost)) again("CP2");
    else done();
  }

  private answerWaiting(sessionId: string): void {
    const { scheduler, newId } = this.stage;
    const state = this.ports.logs.state(sessionId);
    if (state.phase !== "acting" || state.status !== "idle") return;
    for (const call of state.calls) {
      if (call.progress.at !== "waiting" || this.answered.has(call.id)) continue;
      this.answered.add(call.id);
      const id = newId("sevt");
      const isAllowed = scheduler.chance(0.7);
      const event: NewEvent =
        call.progress.for === "client"
          ? { id, type: "user.custom_tool_result", custom_tool_use_id: call.id, content: [] }
          : { id, type: "user.tool_confirmation", tool_use_id: call.id, result: isAllowed ? "allow" : "deny" };
      this.send(sessionId, event, () => undefined);
      if (scheduler.chance(0.3)) return; // the rest later
    }
  }
}
