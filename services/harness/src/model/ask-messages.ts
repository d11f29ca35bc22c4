/**
 * One streamed request of the Messages API. The client library makes its headers and URL once and reads the answer; in
 * between goes a plain request, since what the library does for every single one (retries, middleware, credentials, a
 * dozen `Headers`) costs more than the rest of the way to the model and is not used here.
 */
import { Readable } from "node:stream";
import Anthropic, { APIError } from "@anthropic-ai/sdk";
import { Stream } from "@anthropic-ai/sdk/core/streaming";
import type { RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages";
import type { ModelRequest } from "@manyhands/core";
import { type Dispatcher, Pool } from "undici";

/** Sends one request; rejects with the library's errors. Aborting the controller ends it, also while it streams. */
export type AskMessages = (
  request: ModelRequest,
  authToken: string,
  controller: AbortController,
) => Promise<AsyncIterable<RawMessageStreamEvent>>;

const maxConnections = 256;
const keepAliveMs = 30_000;
const connectMs = 10_000;

/** Asks by way of vault-proxy's model listener, on connections that are kept open. */
export function createAskMessages(baseUrl: string): AskMessages {
  const client = new Anthropic({ baseURL: baseUrl, apiKey: null, authToken: "set per request", maxRetries: 0 });
  const pool = new Pool(new URL(baseUrl).origin, {
    connections: maxConnections,
    pipelining: 1,
    keepAliveTimeout: keepAliveMs,
    connect: { timeout: connectMs },
    // How long a silent model is waited for is the caller's business.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const prepared = prepare(client);
  prepared.catch(() => undefined); // every request reports it
  return async (request, authToken, controller) => {
    const { path, headers } = await prepared;
    const answer = await pool.request({
      method: "POST",
      path,
      headers: { ...headers, authorization: `Bearer ${authToken}` },
      body: JSON.stringify(request),
      signal: controller.signal,
    });
    if (answer.statusCode >= 300) throw await errorOf(answer);
    const body = Readable.toWeb(answer.body) as ReadableStream<Uint8Array>; // node's and the web's declarations of one class
    const response = new Response(body, { status: answer.statusCode, headers: headersOf(answer) });
    return Stream.fromSSEResponse<RawMessageStreamEvent>(response, controller, client);
  };
}

/** Where a request goes and with which headers, as the library would send it; both are the same for all of them. */
async function prepare(client: Anthropic): Promise<{ path: string; headers: Record<string, string> }> {
  const { req, url } = await client.buildRequest({ method: "post", path: "/v1/messages", body: {}, stream: true });
  const { pathname, search } = new URL(url);
  return { path: `${pathname}${search}`, headers: Object.fromEntries(new Headers(req.headers)) };
}

async function errorOf(answer: Dispatcher.ResponseData): Promise<APIError> {
  const text = await answer.body.text();
  const body = parsed(text);
  return APIError.generate(answer.statusCode, body, body === undefined ? text : undefined, headersOf(answer));
}

function parsed(text: string): object | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function headersOf({ headers }: Dispatcher.ResponseData): Headers {
  const all = Object.entries(headers).flatMap(([name, value]) => [value ?? []].flat().map((one) => [name, one]));
  return new Headers(all as [string, string][]); // pairs, which the type of `map` does not say
}
