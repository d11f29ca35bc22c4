/** What a failed Messages API call means: which kind of error, and whether the provider named a pause. */
import { APIConnectionError, APIError } from "@anthropic-ai/sdk";
import type { ModelFailure } from "@manyhands/core";
import { redactText } from "@manyhands/kit";

const byType: Readonly<Record<string, ModelFailure["kind"]>> = {
  overloaded_error: "overloaded",
  rate_limit_error: "rateLimited",
  api_error: "server",
  timeout_error: "server",
  billing_error: "billing",
};

const maxMessageChars = 1_000;

/** The failure behind anything the client threw. What cannot be read counts as a cut connection: asking again helps. */
export function modelFailure(thrown: unknown): ModelFailure {
  if (!(thrown instanceof APIError) || thrown instanceof APIConnectionError) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return { kind: "network", message: `The connection to the model failed: ${bounded(why)}` };
  }
  const retryAfterMs = retryAfter(thrown.headers);
  return {
    kind: kindOf(thrown.status, typeOf(thrown), thrown.message),
    message: bounded(thrown.message),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/** Words of the provider for a conversation that is longer than the model's context; it has no error type of its own. */
const tooLong =
  /prompt is too long|exceeds? the (model's )?(maximum )?context|context (window|length) (is )?exceeded|input length and `max_tokens` exceed/i;

function kindOf(status: number | undefined, type: string, message: string): ModelFailure["kind"] {
  if (status === 413 || (status === 400 && tooLong.test(message))) return "contextOverflow";
  const named = byType[type];
  if (named !== undefined) return named;
  if (status === 529) return "overloaded";
  if (status === 429) return "rateLimited";
  if (status === 402) return "billing";
  if (status === undefined || status >= 500 || status === 408 || status === 409) return "server";
  return "refused";
}

/** The type inside the error body: `{type: "error", error: {type, message}}`. */
function typeOf(error: APIError): string {
  const body: unknown = error.error;
  if (typeof body !== "object" || body === null) return "";
  const inner = "error" in body ? body.error : body;
  return typeof inner === "object" && inner !== null && "type" in inner && typeof inner.type === "string"
    ? inner.type
    : "";
}

/** Seconds or an HTTP date. */
function retryAfter(headers: Headers | undefined): number | undefined {
  const value = headers?.get("retry-after");
  if (value === null || value === undefined || value === "") return undefined;
  const seconds = Number(value);
  const ms = Number.isFinite(seconds) ? seconds * 1_000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, Math.round(ms)) : undefined;
}

function bounded(message: string): string {
  return redactText(message).slice(0, maxMessageChars);
}
