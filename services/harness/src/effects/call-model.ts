import {
  type AgentConfig,
  failureEvents,
  type Limits,
  type ModelRequest,
  type ModelResponse,
  type NewEvent,
  type Recorded,
  responseEvents,
  summaryEvents,
} from "@manyhands/core";
import type { Pass } from "../fault-points.ts";
import type { Model } from "../model/model.ts";
import type { DeltaPublisher } from "./delta-publisher.ts";

/** One model request. */
export interface ModelCall {
  readonly sessionId: string;
  readonly agent: AgentConfig;
  readonly request: ModelRequest;
  /** The event that announces it. */
  readonly start: NewEvent<"span.model_request_start">;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly limits: Limits;
  readonly deltas: DeltaPublisher;
  /** Told when a tool use begins. */
  readonly toolUse: (name: string) => void;
  readonly signal: AbortSignal;
}

/** Asks the model; the events that record how it ended. Rejects only when the signal aborts. */
export async function callModel(model: Model, pass: Pass, call: ModelCall): Promise<Recorded[]> {
  const { deltas, signal } = call;
  const listener = {
    started: deltas.started,
    toolUse: call.toolUse,
    text: (eventId: string, index: number, text: string) => {
      deltas.text(eventId, index, text);
      pass("during_model_stream");
    },
  };
  const end = await model.ask(call.sessionId, call.request, listener, signal);
  deltas.close();
  if (end.type === "failure") return failureEvents(call.start.id, end.failure, call.attempt, call.limits);
  pass("after_model_response");
  return recorded(call, end.response);
}

function recorded({ agent, start, attempt, limits }: ModelCall, response: ModelResponse): Recorded[] {
  if (start.purpose === undefined) return responseEvents(agent, start.id, response, limits);
  const summary = summaryEvents(start.id, start.context_position, response);
  const failure = {
    kind: "server",
    message: "The model answered the request for a summary without any text.",
  } as const;
  return summary ?? failureEvents(start.id, failure, attempt, limits);
}
