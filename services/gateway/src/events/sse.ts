/**
 * Server-sent events on one response. The official client needs an `event:` line on every frame, skips `ping`, throws
 * on `error`, and ignores `id:`, which is there for `Last-Event-ID`.
 */
import type { ServerResponse } from "node:http";
import { AppError } from "@manyhands/kit";

/** One frame. */
export type SseFrame = { readonly event: string; readonly data: object; readonly id?: string };

/** Writes frames and respects the reader's pace. */
export type SseWriter = {
  /** Resolves when the next frame may be written. Throws AppError when the reader is gone or took nothing for too long. */
  send(frame: SseFrame): Promise<void>;
  /** Ends the response. */
  end(): void;
};

/** How a stream is kept alive and when it is given up. */
export type SseOptions = {
  /** Time between pings; a client's HTTP library cuts a body that is silent for minutes. */
  readonly pingMs: number;
  /** A reader that takes nothing for so long is dropped. */
  readonly stallMs: number;
};

/** Sends the headers at once (clients wait for them before they send the first message) and starts the pings. */
export function openSse(
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
  options: SseOptions,
): SseWriter {
  response.writeHead(200, {
    ...headers,
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    // Tells buffering reverse proxies to pass every frame on at once.
    "x-accel-buffering": "no",
  });
  response.flushHeaders();
  const ping = setInterval(() => {
    // A reader that is behind has enough to read; a ping would only grow the buffer.
    if (!response.writableNeedDrain && response.writable)
      response.write(frameText({ event: "ping", data: { type: "ping" } }));
  }, options.pingMs);
  response.once("close", () => clearInterval(ping));
  return {
    async send(frame) {
      if (!response.writable) throw AppError.cancelled("the reader is gone");
      if (!response.write(frameText(frame))) await drained(response, options.stallMs);
    },
    end() {
      clearInterval(ping);
      response.end();
    },
  };
}

function frameText({ event, data, id }: SseFrame): string {
  // JSON has no raw newline, so one data line is enough.
  return `event: ${event}\n${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
}

function drained(response: ServerResponse, stallMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      settle(() => reject(AppError.exhausted("READER_TOO_SLOW", `the reader took nothing for ${stallMs} ms`)));
      response.destroy();
    }, stallMs);
    const onDrain = () => settle(resolve);
    const onClose = () => settle(() => reject(AppError.cancelled("the reader is gone")));
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      response.off("drain", onDrain);
      response.off("close", onClose);
      finish();
    };
    response.once("drain", onDrain);
    response.once("close", onClose);
  });
}
