/** Why a request to an MCP server has no result, and above all whether it can have had an effect. */

/** What kind of trouble it is. `session`: the server forgot the session, a new one helps. */
export type McpErrorKind = "connection" | "authentication" | "session" | "unsupported" | "protocol" | "stopped";

/** What is known besides. */
export type McpErrorFacts = {
  readonly reached: boolean;
  readonly status?: number;
  readonly sentWith?: string | undefined;
};

/**
 * A request without a result. `reached` is false only where that is proved: nothing was sent, or the server answered
 * that it did nothing. The message is for people and never quotes the server.
 */
export class McpError extends Error {
  override readonly name = "McpError";
  readonly kind: McpErrorKind;
  readonly reached: boolean;
  /** HTTP status that was answered; 0 when none was. */
  readonly status: number;
  /** Which credential the refused message carried; undefined for none. */
  readonly sentWith: string | undefined;

  constructor(kind: McpErrorKind, message: string, facts: McpErrorFacts) {
    super(message);
    this.kind = kind;
    this.reached = facts.reached;
    this.status = facts.status ?? 0;
    this.sentWith = facts.sentWith;
  }
}

/** The server's own error: it took the request and said no. `message` is the server's and may hold anything. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** What an HTTP status that is no success says. 4xx: refused before it was done; 5xx: nothing is known. */
export function statusError(status: number, hasSession: boolean, sentWith?: string): McpError {
  if (status === 401 || status === 403) {
    return new McpError("authentication", `the server answered ${status}`, { reached: false, status, sentWith });
  }
  if (status === 404 && hasSession) {
    return new McpError("session", "the server does not know the session any more", { reached: false, status });
  }
  if (status === 404 || status === 405 || status === 400 || status === 406 || status === 415) {
    return new McpError("unsupported", `the server answered ${status}`, { reached: false, status });
  }
  if (status >= 300 && status < 400) {
    const message = `the server answered with a redirect (${status}), which is never followed`;
    return new McpError("connection", message, { reached: false, status });
  }
  return new McpError("connection", `the server answered ${status}`, { reached: status >= 500, status });
}
