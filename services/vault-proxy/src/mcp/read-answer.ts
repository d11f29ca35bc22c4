/** Reading what a server answers, bounded in bytes and told apart by media type. */
import { TextDecoder } from "node:util";
import type { Dispatcher } from "undici";
import { parseRpc, type RpcMessage } from "./json-rpc.ts";
import { McpError } from "./mcp-error.ts";
import { type SseEvent, SseTooLong, sseParser } from "./sse-parser.ts";
import { MCP_LIMITS } from "./transport.ts";

type Body = Dispatcher.ResponseData["body"];

/** What may become a header of ours. */
const EVENT_ID = /^[\x21-\x7e]{1,512}$/;

/** Media type of an answer, in lower case and without parameters. */
export function mediaTypeOf(answer: Pick<Dispatcher.ResponseData, "headers">): string {
  const value = answer.headers["content-type"];
  return (
    String(Array.isArray(value) ? value[0] : (value ?? ""))
      .split(";")[0]
      ?.trim()
      .toLowerCase() ?? ""
  );
}

/** Ends an answer nobody reads; a small rest is read so that the connection can be used again. */
export function discard(body: Body): void {
  body.on("error", () => undefined);
  body.dump({ limit: 64 * 1024 }).catch(() => undefined);
}

/** Where a stream can be taken up again. */
export type Cursor = { readonly id: string; readonly retryMs: number | undefined };

/**
 * The messages of a JSON or event-stream answer, as they come; `onCursor` is told of each event that has an id, before
 * its messages. Throws McpError when it is too long or no JSON.
 */
export async function* messagesOf(
  answer: Pick<Dispatcher.ResponseData, "headers" | "body">,
  onCursor: (cursor: Cursor) => void,
): AsyncGenerator<RpcMessage> {
  switch (mediaTypeOf(answer)) {
    case "application/json": {
      let text = "";
      for await (const piece of textOf(answer.body, MCP_LIMITS.message)) text += piece;
      yield* parsed(text);
      return;
    }
    case "text/event-stream":
      for await (const { event, data, id, retryMs } of eventsOf(answer.body, MCP_LIMITS.answer)) {
        if (EVENT_ID.test(id)) onCursor({ id, retryMs });
        if (event === "message" && data !== "") yield* parsed(data);
      }
      return;
    default:
      discard(answer.body);
      throw new McpError("protocol", "the server answered neither JSON nor an event stream", { reached: true });
  }
}

/** Events of a stream; `maxBytes` of Infinity for one that is meant to stay open. */
export async function* eventsOf(body: Body, maxBytes: number): AsyncGenerator<SseEvent> {
  const parse = sseParser(MCP_LIMITS.message);
  try {
    for await (const piece of textOf(body, maxBytes)) yield* parse(piece);
  } catch (error) {
    if (error instanceof SseTooLong) throw tooLong();
    throw error;
  }
}

async function* textOf(body: Body, maxBytes: number): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8");
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLong();
    yield decoder.decode(chunk, { stream: true });
  }
  yield decoder.decode();
}

function parsed(text: string): readonly RpcMessage[] {
  const messages = parseRpc(text);
  if (!messages) throw new McpError("protocol", "the server answered text that is no JSON", { reached: true });
  return messages;
}

function tooLong(): McpError {
  return new McpError("protocol", `the server's answer is longer than ${MCP_LIMITS.message} bytes`, { reached: true });
}
