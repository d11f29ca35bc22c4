/** The Messages API through vault-proxy: the session token goes out as bearer, the key is added there. */
import { AuthenticationError } from "@anthropic-ai/sdk";
import type { ModelRequest } from "@manyhands/core";
import { newId, toAppError } from "@manyhands/kit";
import { type AskMessages, createAskMessages } from "./ask-messages.ts";
import type { Model, ModelEnd, ModelListener } from "./model.ts";
import { modelFailure } from "./model-failure.ts";
import { ResponseBuilder } from "./response-builder.ts";
import type { SessionTokens } from "./session-tokens.ts";

/** How the model is reached. */
export interface AnthropicModelOptions {
  /** Base URL of vault-proxy's model listener. */
  readonly baseUrl: string;
  readonly tokens: SessionTokens;
  /** A stream that is silent for so long is cut. */
  readonly idleMs: number;
}

/** Retries are the core's decision, written in the log; a request itself is never repeated. */
export function createAnthropicModel(options: AnthropicModelOptions): Model {
  const ask = createAskMessages(options.baseUrl);
  return {
    prepare(sessionId) {
      options.tokens.get(sessionId).catch(() => undefined); // the request itself reports it
    },
    async ask(sessionId, request, listener, signal) {
      const end = await askOnce(ask, options, sessionId, request, listener, signal);
      if (end !== "tokenRefused") return end;
      options.tokens.forget(sessionId);
      const again = await askOnce(ask, options, sessionId, request, listener, signal);
      if (again !== "tokenRefused") return again;
      return { type: "failure", failure: { kind: "refused", message: "The model proxy refused the session's token." } };
    },
  };
}

async function askOnce(
  ask: AskMessages,
  options: AnthropicModelOptions,
  sessionId: string,
  request: ModelRequest,
  listener: ModelListener,
  signal: AbortSignal,
): Promise<ModelEnd | "tokenRefused"> {
  const exchange = new AbortController();
  const idle = new IdleTimer(options.idleMs, () => exchange.abort());
  const onAbort = () => exchange.abort();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const authToken = await options.tokens.get(sessionId);
    signal.throwIfAborted();
    const stream = await ask(request, authToken, exchange);
    const builder = new ResponseBuilder(
      listener,
      () => newId("sevt"),
      () => performance.now(),
    );
    for await (const event of stream) {
      idle.touch();
      builder.add(event);
    }
    signal.throwIfAborted();
    if (idle.isOver) return silence(options.idleMs);
    const response = builder.finish();
    if (response !== undefined) return { type: "response", response };
    return { type: "failure", failure: { kind: "network", message: "The model's answer ended before it was whole." } };
  } catch (error) {
    signal.throwIfAborted();
    if (idle.isOver) return silence(options.idleMs);
    if (error instanceof AuthenticationError && isTokenRefusal(error)) return "tokenRefused";
    return { type: "failure", failure: failureOf(error) };
  } finally {
    idle.stop();
    signal.removeEventListener("abort", onAbort);
  }
}

function silence(idleMs: number): ModelEnd {
  return { type: "failure", failure: { kind: "network", message: `The model said nothing for ${idleMs} ms.` } };
}

/** vault-proxy's own refusal, not the provider's: only then does a new token help. */
function isTokenRefusal(error: AuthenticationError): boolean {
  return JSON.stringify(error.error ?? "")
    .toLowerCase()
    .includes("token");
}

function failureOf(error: unknown) {
  if (error instanceof Error && error.name === "AppError") {
    const app = toAppError(error);
    const isFinal = app.kind === "notFound" || app.kind === "denied";
    return {
      kind: isFinal ? ("refused" as const) : ("network" as const),
      message: `No session token for the model: ${app.message}`,
    };
  }
  return modelFailure(error);
}

/** Calls back when it was not touched for a while. */
class IdleTimer {
  private readonly timer: NodeJS.Timeout;
  private over = false;

  constructor(idleMs: number, onOver: () => void) {
    this.timer = setTimeout(() => {
      this.over = true;
      onOver();
    }, idleMs);
  }

  get isOver(): boolean {
    return this.over;
  }

  touch(): void {
    this.timer.refresh();
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
