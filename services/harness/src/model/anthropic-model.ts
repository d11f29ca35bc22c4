/** The Messages API through vault-proxy: the session token goes out as bearer, the key is added there. */
import Anthropic, { AuthenticationError } from "@anthropic-ai/sdk";
import type { MessageCreateParamsStreaming } from "@anthropic-ai/sdk/resources/messages";
import type { ModelRequest } from "@manyhands/core";
import { newId, toAppError } from "@manyhands/kit";
import { createHttpFetch } from "./http-fetch.ts";
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

/** Retries are the core's decision, written in the log; the client itself never repeats. */
export function createAnthropicModel(options: AnthropicModelOptions): Model {
  const client = new Anthropic({
    baseURL: options.baseUrl,
    apiKey: null,
    authToken: "set per request",
    maxRetries: 0,
    timeout: options.idleMs,
    fetch: createHttpFetch(),
  });
  return {
    prepare(sessionId) {
      options.tokens.get(sessionId).catch(() => undefined); // the request itself reports it
    },
    async ask(sessionId, request, listener, signal) {
      const end = await askOnce(client, options, sessionId, request, listener, signal);
      if (end !== "tokenRefused") return end;
      options.tokens.forget(sessionId);
      const again = await askOnce(client, options, sessionId, request, listener, signal);
      if (again !== "tokenRefused") return again;
      return { type: "failure", failure: { kind: "refused", message: "The model proxy refused the session's token." } };
    },
  };
}

async function askOnce(
  client: Anthropic,
  options: AnthropicModelOptions,
  sessionId: string,
  request: ModelRequest,
  listener: ModelListener,
  signal: AbortSignal,
): Promise<ModelEnd | "tokenRefused"> {
  const idle = new IdleTimer(options.idleMs);
  try {
    const authToken = await options.tokens.get(sessionId);
    // The core's request is the API's, but for the free-form blocks that it keeps as JSON.
    const params = request as object as MessageCreateParamsStreaming;
    const stream = await client.messages.create(params, {
      headers: { authorization: `Bearer ${authToken}` }, // a client made for each request would cost more than the request
      signal: AbortSignal.any([signal, idle.signal]),
    });
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
    idle.signal.throwIfAborted();
    const response = builder.finish();
    if (response !== undefined) return { type: "response", response };
    return { type: "failure", failure: { kind: "network", message: "The model's answer ended before it was whole." } };
  } catch (error) {
    signal.throwIfAborted();
    if (idle.signal.aborted) {
      const message = `The model said nothing for ${options.idleMs} ms.`;
      return { type: "failure", failure: { kind: "network", message } };
    }
    if (error instanceof AuthenticationError && isTokenRefusal(error)) return "tokenRefused";
    return { type: "failure", failure: failureOf(error) };
  } finally {
    idle.stop();
  }
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

/** Aborts when it was not touched for a while. */
class IdleTimer {
  private readonly controller = new AbortController();
  private readonly timer: NodeJS.Timeout;

  constructor(idleMs: number) {
    this.timer = setTimeout(() => this.controller.abort(new Error("the stream is silent")), idleMs);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  touch(): void {
    this.timer.refresh();
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
