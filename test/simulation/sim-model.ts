/** A model that takes its time, fails, and asks for tools of every kind; what it says is decided by the scheduler. */
import type { ModelRequest, ResponseBlock } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import type { Model, ModelEnd, ModelListener } from "../../services/harness/src/model/model.ts";
import type { Faults } from "./faults.ts";
import type { Process } from "./process.ts";
import type { Scheduler } from "./scheduler.ts";

/** What the world is told of. */
export interface ModelEvents {
  onAsk(sessionId: string, request: ModelRequest): void;
  readonly isCalm: () => boolean;
}

/** What it asks for besides what the session's MCP servers offer. */
const tools = ["bash", "bash", "bash", "write", "lookup", "fly"] as const;
const usage = { input_tokens: 10, output_tokens: 5, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };

/** The model as one brain reaches it. */
export function simModel(
  scheduler: Scheduler,
  faults: Faults,
  process: Process,
  newId: (prefix: string) => string,
  events: ModelEvents,
): Model {
  const ask = (sessionId: string, request: ModelRequest, listener: ModelListener, signal: AbortSignal) => {
    if (!process.isAlive || process.mayCrash("model: not asked")) return new Promise<ModelEnd>(() => undefined);
    events.onAsk(sessionId, request);
    return new Promise<ModelEnd>((resolve, reject) => {
      signal.addEventListener(
        "abort",
        () => reject(new AppError("cancelled", { reason: "CANCELLED", message: "cancelled" })),
        { once: true },
      );
      const messageId = newId("sevt");
      scheduler.after(scheduler.between(1, 60), () =>
        process.deliver(() => {
          if (signal.aborted || process.mayCrash("model: before its first words")) return;
          listener.started(messageId, "agent.message");
          listener.text(messageId, 0, "well");
          scheduler.after(scheduler.between(0, 60), () =>
            process.deliver(() => {
              if (signal.aborted || process.mayCrash("model: in the middle of its words")) return;
              resolve(answer(scheduler, faults, request, messageId, newId, events.isCalm()));
            }),
          );
        }),
      );
    });
  };
  return { ask, prepare: () => undefined };
}

function answer(
  scheduler: Scheduler,
  faults: Faults,
  request: ModelRequest,
  messageId: string,
  newId: (prefix: string) => string,
  isCalm: boolean,
): ModelEnd {
  if (scheduler.chance(faults.modelFails)) {
    const kind = scheduler.pick(["overloaded", "network", "rateLimited"] as const) ?? "network";
    return { type: "failure", failure: { kind, message: "no" } };
  }
  const blocks: ResponseBlock[] = [{ type: "text", id: messageId, text: "well" }];
  const soFar = request.messages.filter((turn) => turn.role === "assistant").length;
  const count = isCalm || soFar > 12 || scheduler.chance(0.4) ? 0 : scheduler.between(1, 3);
  const offered = (request.tools ?? []).map(({ name }) => name).filter((name) => name.startsWith("mcp__"));
  for (let n = 0; n < count; n += 1) {
    const isOutside = offered.length > 0 && scheduler.chance(0.5);
    const name = scheduler.pick(isOutside ? offered : tools) ?? "bash";
    const id = newId("sevt");
    blocks.push({ type: "tool_use", id, name, input: { command: "true", operation: id } });
  }
  const stopReason = count > 0 ? "tool_use" : "end_turn";
  return { type: "response", response: { blocks, stopReason, usage, timeToFirstTokenMs: 1 } };
}
