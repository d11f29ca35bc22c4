/**
 * A `fetch` for the model's client, on connections that are kept open. The platform's own makes web streams, signals and
 * a dozen small objects before the first byte goes out; on the way to the first token that is what can be spared.
 */
import {
  Agent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
} from "node:http";
import { request as httpsRequest } from "node:https";
import { Readable } from "node:stream";

const maxIdleSockets = 256;
const bodyless = new Set([204, 205, 304]);

/** Sends one request whose body is text or nothing. Rejects as `fetch` does, with the signal's reason when it aborts. */
export function createHttpFetch(): typeof fetch {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: maxIdleSockets });
  return (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = plainHeaders(init.headers);
    const { body, method = "GET", signal } = init;
    if (body !== undefined && body !== null && typeof body !== "string") throw new TypeError("the body must be text");
    const isPlain = url.protocol === "http:";
    return new Promise((resolve, reject) => {
      const send = isPlain ? httpRequest : httpsRequest;
      const outgoing = send(url, { method, headers, ...(isPlain ? { agent } : {}), ...(signal ? { signal } : {}) });
      outgoing.once("response", (incoming) => resolve(responseOf(incoming)));
      outgoing.once("error", (error) => reject(signal?.aborted ? signal.reason : error));
      outgoing.end(body ?? undefined);
    });
  };
}

/** Those of a plain object are taken as they are: `Headers` are slow, and node checks them too. */
function plainHeaders(headers: RequestInit["headers"]): OutgoingHttpHeaders {
  const isPlain = headers !== undefined && !(headers instanceof Headers) && !Array.isArray(headers);
  return isPlain ? { ...headers } : Object.fromEntries(new Headers(headers));
}

function responseOf(incoming: IncomingMessage): Response {
  const status = incoming.statusCode ?? 502;
  const init = { status, statusText: incoming.statusMessage ?? "", headers: headersOf(incoming.headers) };
  if (bodyless.has(status)) return new Response(null, init);
  const body = Readable.toWeb(incoming) as ReadableStream<Uint8Array>; // node's and the web's declarations of one class
  return new Response(body, init);
}

function headersOf(incoming: IncomingHttpHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming)) {
    for (const one of [value ?? []].flat()) headers.append(name, one);
  }
  return headers;
}
