/**
 * The streaming middle of both HTTP proxies: one request in, one request out, bytes untouched both ways.
 *
 * P1 nothing is buffered beyond the streams' own small windows; backpressure reaches the other end. P2 headers and the
 * first byte are sent on as soon as they come. P3 when one end goes away the other is ended. P4 redirects are never
 * followed.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Dispatcher } from "undici";
import type { CleanHeaders } from "../policy/headers.ts";

/** The request to send on. */
export type Outgoing = {
  readonly origin: string;
  readonly path: string;
  readonly method: "GET" | "POST";
  readonly headers: CleanHeaders;
  /** A longer body ends the exchange with BodyTooLarge. */
  readonly maxBodyBytes: number;
};

/** What the upstream answered, before its body. */
export type Answer = Pick<Dispatcher.ResponseData, "statusCode" | "headers" | "body">;

/** How many bytes went which way. */
export type ByteCount = { sent: number; received: number };

/** The client's body is longer than allowed. */
export class BodyTooLarge extends Error {
  constructor(maxBytes: number) {
    super(`the request body is longer than ${maxBytes} bytes`);
    this.name = "BodyTooLarge";
  }
}

/** Sends the request on and resolves with the head of the answer. */
export async function sendOn(
  dispatcher: Dispatcher,
  request: IncomingMessage,
  outgoing: Outgoing,
  bytes: ByteCount,
  signal: AbortSignal,
): Promise<Answer> {
  const { origin, path, method, headers, maxBodyBytes } = outgoing;
  if (Number(request.headers["content-length"] ?? 0) > maxBodyBytes) {
    throw new BodyTooLarge(maxBodyBytes);
  }
  const hasBody = method === "POST";
  const counter = countBytes((length) => {
    bytes.sent += length;
    return bytes.sent <= maxBodyBytes ? undefined : new BodyTooLarge(maxBodyBytes);
  });
  let bodyFailure: unknown;
  if (hasBody) {
    pipeline(request, counter).catch((error: unknown) => {
      bodyFailure = error;
    });
  } else {
    request.resume();
  }
  try {
    return await dispatcher.request({ origin, path, method, headers, signal, body: hasBody ? counter : null });
  } catch (error) {
    throw bodyFailure instanceof BodyTooLarge ? bodyFailure : error;
  }
}

/** The whole body of a request that says it is short; undefined for a longer one, or one that does not say. */
export async function readShortBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const length = Number(request.headers["content-length"] ?? Number.NaN);
  if (!(length <= maxBytes)) {
    return undefined;
  }
  const [first, ...more] = await chunksOf(request);
  return more.length === 0 ? (first ?? Buffer.alloc(0)) : Buffer.concat([first ?? Buffer.alloc(0), ...more]);
}

/** By its events: the body of a short request is there already, and an iterator would take several turns to say so. */
function chunksOf(request: IncomingMessage): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.once("end", () => resolve(chunks));
    request.once("error", reject);
    request.once("close", () => reject(new ClientGone())); // after `end` it changes nothing
  });
}

/** Sends a request whose body is at hand; may be called again with the same body. */
export async function sendWhole(
  dispatcher: Dispatcher,
  body: Buffer,
  { origin, path, method, headers }: Outgoing,
  bytes: ByteCount,
  signal: AbortSignal,
): Promise<Answer> {
  bytes.sent += body.byteLength;
  return dispatcher.request({ origin, path, method, headers, signal, body: method === "POST" ? body : null });
}

/** Sends the answer back, head first; `look` sees what passes. Rejects when either end fails; the response is ended then. */
export async function sendBack(
  answer: Answer,
  response: ServerResponse,
  headers: CleanHeaders,
  bytes: ByteCount,
  look?: (chunk: Buffer) => void,
): Promise<void> {
  response.writeHead(answer.statusCode, headers);
  response.flushHeaders();
  const counter = countBytes((length, chunk) => {
    bytes.received += length;
    look?.(chunk);
    return undefined;
  });
  await pipeline(answer.body, counter, response);
}

/** Aborts when the client goes away before it has its whole answer. */
export function clientGone(response: ServerResponse): AbortController {
  const controller = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) {
      controller.abort(new ClientGone());
    }
  });
  return controller;
}

/** The client closed its connection. */
export class ClientGone extends Error {
  constructor() {
    super("the client went away");
    this.name = "ClientGone";
  }
}

/** The short, harmless name of a connection failure: its code, never its message. */
export function failureCode(error: unknown): string {
  if (error instanceof Error) {
    return "code" in error && typeof error.code === "string" ? error.code : error.name;
  }
  return "unknown error";
}

function countBytes(onBytes: (length: number, chunk: Buffer) => Error | undefined): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const failure = onBytes(chunk.byteLength, chunk);
      if (failure) {
        done(failure);
      } else {
        done(null, chunk);
      }
    },
  });
}
