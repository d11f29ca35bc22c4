/** Answers bytes that are no HTTP request: there is no request to route, only a socket to answer on and close. */
import type { Socket } from "node:net";
import { AppError, newId } from "@manyhands/kit";
import { errorAnswer } from "./error-answer.ts";

const statusByCode: Readonly<Record<string, readonly [number, string]>> = {
  HPE_HEADER_OVERFLOW: [431, "the request's headers are too large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "the request did not arrive in time"],
};

/** `clientErrorHandler` of the HTTP library. */
export function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return;
  const [status, message] = statusByCode[error.code ?? ""] ?? [400, "this is not an HTTP/1.1 request"];
  const { body, headers } = errorAnswer(new AppError("invalid", { reason: "BROKEN_REQUEST", message }), newId("req"));
  const text = JSON.stringify(body);
  const lines = Object.entries({ ...headers, "content-length": Buffer.byteLength(text), connection: "close" });
  if (socket.writable) {
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    socket.write(`HTTP/1.1 ${status} ${message}\r\n${head}\r\n${text}`);
  }
  socket.destroySoon();
}
