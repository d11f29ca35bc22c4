import type { ModelFailure, ModelRequest, ModelResponse } from "@manyhands/core";

/** What happens while a model speaks; ids are those of the events that will be stored. */
export interface ModelListener {
  /** A message or a thinking block begins. */
  started(eventId: string, type: "agent.message" | "agent.thinking"): void;
  /** Text was added to one text block of a message. */
  text(eventId: string, index: number, text: string): void;
  /** A tool use begins; its input is still to come. */
  toolUse?(name: string): void;
}

/** How a request ended. */
export type ModelEnd =
  | { readonly type: "response"; readonly response: ModelResponse }
  | { readonly type: "failure"; readonly failure: ModelFailure };

/** A model that can be asked. */
export interface Model {
  /** Asks once. Never rejects, except when `signal` aborts. */
  ask(sessionId: string, request: ModelRequest, listener: ModelListener, signal: AbortSignal): Promise<ModelEnd>;
  /** Gets ready to ask for a session, so that the first request need not wait. */
  prepare(sessionId: string): void;
}
