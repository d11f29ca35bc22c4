import { APIConnectionError, APIError } from "@anthropic-ai/sdk";
import { expect, it } from "vitest";
import { modelFailure } from "./model-failure.ts";

function answered(status: number | undefined, type: string, headers: Record<string, string> = {}) {
  const body = { type: "error", error: { type, message: "no" } };
  return modelFailure(APIError.generate(status, body, undefined, new Headers(headers)));
}

it.each([
  [529, "overloaded_error", "overloaded"],
  [429, "rate_limit_error", "rateLimited"],
  [500, "api_error", "server"],
  [503, "", "server"],
  [402, "billing_error", "billing"],
  [400, "invalid_request_error", "refused"],
  [413, "request_too_large", "contextOverflow"],
  [404, "not_found_error", "refused"],
] as const)("%s %s is %s", (status, type, kind) => {
  expect(answered(status, type).kind).toBe(kind);
});

it("reads an error event in the middle of a stream by its type", () => {
  const body = { type: "error", error: { type: "overloaded_error", message: "busy" } };
  expect(modelFailure(new APIError(undefined, body, "busy", undefined)).kind).toBe("overloaded");
});

it("reads how long the provider asks to wait, in seconds or as a date", () => {
  expect(answered(429, "rate_limit_error", { "retry-after": "3" }).retryAfterMs).toBe(3_000);
  const date = new Date(Date.now() + 60_000).toUTCString();
  expect(answered(529, "overloaded_error", { "retry-after": date }).retryAfterMs).toBeGreaterThan(50_000);
  expect(answered(429, "rate_limit_error", { "retry-after": "soon" })).not.toHaveProperty("retryAfterMs");
});

it("takes everything that is not an answer for a cut connection", () => {
  expect(modelFailure(new APIConnectionError({ message: "reset" })).kind).toBe("network");
  expect(modelFailure(new SyntaxError("bad JSON")).kind).toBe("network");
});

it.each([
  "prompt is too long: 210000 tokens > 200000 maximum",
  "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000",
])("knows a conversation that is too long by the provider's words: %s", (message) => {
  const body = { type: "error", error: { type: "invalid_request_error", message } };
  expect(modelFailure(APIError.generate(400, body, undefined, new Headers())).kind).toBe("contextOverflow");
});
