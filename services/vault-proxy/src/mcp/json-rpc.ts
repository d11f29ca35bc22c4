/** JSON-RPC 2.0 as MCP uses it, read from a peer that may send anything. Pure. */

/** A JSON object of unknown content. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** What a server can send. */
export type RpcMessage =
  | { readonly kind: "result"; readonly id: number; readonly result: JsonObject }
  | { readonly kind: "error"; readonly id: number; readonly code: number; readonly message: string }
  | { readonly kind: "request"; readonly id: number | string; readonly method: string }
  | { readonly kind: "notification"; readonly method: string; readonly params: JsonObject };

const MAX_BATCH = 64;
const MAX_MESSAGE = 2000;

/** The messages of a text; what is none of the protocol is passed over. Undefined when it is no JSON at all. */
export function parseRpc(text: string): readonly RpcMessage[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  return (Array.isArray(json) ? json.slice(0, MAX_BATCH) : [json]).flatMap(messageOf);
}

/** The value when it is a JSON object, else undefined. */
export function asObject(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
}

function messageOf(json: unknown): RpcMessage[] {
  const message = asObject(json);
  if (message?.jsonrpc !== "2.0") return [];
  const { id, method } = message;
  if (typeof method === "string") {
    if (typeof id === "number" || typeof id === "string") return [{ kind: "request", id, method }];
    return [{ kind: "notification", method, params: asObject(message.params) ?? {} }];
  }
  if (typeof id !== "number") return [];
  const error = asObject(message.error);
  if (error) {
    const code = typeof error.code === "number" ? error.code : 0;
    const text = typeof error.message === "string" ? error.message.slice(0, MAX_MESSAGE) : "no message";
    return [{ kind: "error", id, code, message: text }];
  }
  const result = asObject(message.result);
  return result ? [{ kind: "result", id, result }] : [];
}
