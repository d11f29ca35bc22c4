import {
  type AgentConfig,
  failureEvents,
  type Limits,
  type ModelRequest,
  type Recorded,
  responseEvents,
} from "@manyhands/core";
import type { Pass } from "../fault-points.ts";
import type { Model } from "../model/model.ts";
import type { DeltaPublisher } from "./delta-publisher.ts";

/** One model request. */
export interface ModelCall {
  readonly sessionId: string;
  readonly agent: AgentConfig;
  readonly request: ModelRequest;
  /** Id of `span.model_request_start`. */
  readonly startId: string;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly limits: Limits;
  readonly deltas: DeltaPublisher;
  readonly signal: AbortSignal;
}

/** Asks the model; the events that record how it ended. Rejects only when the signal aborts. */
export async function callModel(model: Model, pass: Pass, call: ModelCall): Promise<Recorded[]> {
  const { deltas, signal } = call;
  const listener = {
    started: deltas.started,
    text: (eventId: string, index: number, text: string) => {
      deltas.text(eventId, index, text);
      pass("during_model_stream");
    },
  };
  const end = await model.ask(call.sessionId, call.request, listener, signal);
  deltas.close();
  if (end.type === "failure") return failureEvents(call.startId, end.failure, call.attempt, call.limits);
  pass("after_model_response");
  return responseEvents(call.agent, call.startId, end.response, call.limits);
}
