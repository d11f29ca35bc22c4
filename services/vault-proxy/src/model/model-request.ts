/** Which requests the model proxy serves. Pure. */

/** A request that may be sent on; `path` keeps the client's query. */
export type ModelRequest = { readonly method: "GET" | "POST"; readonly path: string };

const MAX_TARGET = 2048;
const POST_PATHS = new Set(["/v1/messages", "/v1/messages/count_tokens"]);
const GET_PATH = /^\/v1\/models(?:\/[A-Za-z0-9][A-Za-z0-9._:@-]{0,127})?$/;
const QUERY = /^[A-Za-z0-9._~=&%+,:[\]-]*$/;

/** The request, or undefined when it is not one of the model API's. Nothing encoded is accepted in the path. */
export function parseModelRequest(method: string, target: string): ModelRequest | undefined {
  const [path = "", query, ...more] = target.split("?");
  if (target.length > MAX_TARGET || more.length > 0 || (query !== undefined && !QUERY.test(query))) {
    return undefined;
  }
  if (method === "POST" && POST_PATHS.has(path)) {
    return { method, path: target };
  }
  return method === "GET" && GET_PATH.test(path) ? { method, path: target } : undefined;
}
