import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { ApiError } from "./api-error.ts";
import type { JournalEntry } from "./journal.ts";
import type { Fault } from "./scenario-schema.ts";
import { event } from "./sse.ts";

/** Thrown inside a response when a fault has ended it; nothing more may be written. */
export class ResponseEnded extends Error {
  override readonly name = "ResponseEnded";
}

type StreamFault = Exclude<Fault, { kind: "status" }>;

/**
 * Writes the body of one response and plays a fault at its byte. `cut` and `hang` strike at exactly `after_bytes` bytes
 * of the body, `stream_error` and `malformed` at the first event boundary at or after it.
 */
export class ResponseWriter {
  readonly #response: ServerResponse;
  readonly #entry: JournalEntry;
  readonly #fault: StreamFault | undefined;
  readonly #signal: AbortSignal;
  #written = 0;

  constructor(response: ServerResponse, entry: JournalEntry, fault: StreamFault | undefined, signal: AbortSignal) {
    this.#response = response;
    this.#entry = entry;
    this.#fault = fault;
    this.#signal = signal;
  }

  /** Sends the head. A `cut` at byte 0 ends the connection before it. */
  async head(status: number, headers: Readonly<Record<string, string>>): Promise<void> {
    if (this.#fault?.kind === "cut" && this.#fault.after_bytes === 0) return this.#cut();
    this.#entry.answer.status = status;
    this.#response.writeHead(status, headers);
    this.#response.flushHeaders();
    if (this.#fault?.after_bytes === 0) await this.#strike();
  }

  /** Sends a piece of the body, waiting while the client is slow. Throws {@link ResponseEnded} when a fault strikes. */
  async write(text: string): Promise<void> {
    this.#signal.throwIfAborted();
    const bytes = Buffer.from(text);
    const room = (this.#fault?.after_bytes ?? Number.POSITIVE_INFINITY) - this.#written;
    const isExact = this.#fault?.kind === "cut" || this.#fault?.kind === "hang";
    await this.#send(isExact ? bytes.subarray(0, room) : bytes);
    if (bytes.byteLength >= room) await this.#strike();
  }

  /** Ends a response that went well. A fault whose byte was never reached is not played. */
  end(): void {
    this.#response.end();
    this.#entry.answer.ending = "complete";
  }

  async #send(bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength === 0) return;
    this.#entry.answer.firstByteAtMs ??= performance.now();
    this.#written += bytes.byteLength;
    if (!this.#response.write(bytes)) await once(this.#response, "drain", { signal: this.#signal });
  }

  async #strike(): Promise<never> {
    const fault = this.#fault;
    this.#entry.answer.ending = fault?.kind ?? "complete";
    if (fault?.kind === "hang" && !this.#signal.aborted) await once(this.#signal, "abort");
    if (fault?.kind === "stream_error") {
      const { error } = new ApiError(fault.type, fault.message ?? defaultMessage(fault.type)).envelope("");
      await this.#send(Buffer.from(event("error", { error }).text));
    }
    if (fault?.kind === "malformed")
      await this.#send(Buffer.from('event: content_block_delta\ndata: {"type":"conte\n\n'));
    if (fault?.kind === "cut") await this.#cut();
    this.#response.end();
    throw new ResponseEnded();
  }

  /** Lets what was written reach the client, then drops the connection without an orderly end. */
  async #cut(): Promise<never> {
    this.#entry.answer.ending = "cut";
    const { socket } = this.#response;
    if (this.#written > 0) await new Promise<void>((done) => this.#response.write("", () => done()));
    socket?.destroy();
    throw new ResponseEnded();
  }
}

/** What the real API says for an error type when nothing better is known. */
export function defaultMessage(type: string): string {
  const words: Record<string, string> = {
    overloaded_error: "Overloaded",
    rate_limit_error: "This request would exceed your account's rate limit. Please try again later.",
    api_error: "Internal server error",
    authentication_error: "invalid x-api-key",
    permission_error: "Your API key does not have permission to use the specified resource.",
    timeout_error: "Request timed out",
  };
  return words[type] ?? type;
}
