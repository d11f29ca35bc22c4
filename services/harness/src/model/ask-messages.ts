/**
 * One streamed request of the Messages API. The client library makes its headers and URL once and reads the answer; in
 * between goes a plain request, since what the library does for every single one (retries, middleware, credentials, a
 * dozen `Headers`) costs more than the rest of the way to the model and is not used here.
 */
import Anthropic, { APIError } from "@anthropic-ai/sdk";
import { Stream } from "@anthropic-ai/sdk/core/streaming";
import type { RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages";
import type { ModelRequest } from "@manyhands/core";
import { createHttpFetch } from "./http-fetch.ts";

/** Sends one request; rejects with the library's errors. Aborting the controller ends it, also while it streams. */
export type AskMessages = (
  request: ModelRequest,
  authToken: string,
  controller: AbortController,
) => Promise<AsyncIterable<RawMessageStreamEvent>>;

/** Asks by way of vault-proxy's model listener. */
export function createAskMessages(baseUrl: string): AskMessages {
  const client = new Anthropic({ baseURL: baseUrl, apiKey: null, authToken: "set per request", maxRetries: 0 });
  const send = createHttpFetch();
  const prepared = prepare(client);
  prepared.catch(() => undefined); // every request reports it
  return async (request, authToken, controller) => {
    const { url, headers } = await prepared;
    const response = await send(url, {
      method: "POST",
      headers: { ...headers, authorization: `Bearer ${authToken}` },
      body: JSON.stringify(request),
      signal: controller.signal,
    });
    if (!response.ok) throw await errorOf(response);
    return Stream.fromSSEResponse<RawMessageStreamEvent>(response, controller, client);
  };
}

/** Where a request goes and with which headers, as the library would send it; both are the same for all of them. */
async function prepare(client: Anthropic): Promise<{ url: string; headers: Record<string, string> }> {
  const { req, url } = await client.buildRequest({ method: "post", path: "/v1/messages", body: {}, stream: true });
  return { url, headers: Object.fromEntries(new Headers(req.headers)) };
}

async function errorOf(response: Response): Promise<APIError> {
  const text = await response.text();
  const body = parsed(text);
  return APIError.generate(response.status, body, body === undefined ? text : undefined, response.headers);
}

function parsed(text: string): object | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
