/** One bounded request over the bus, with failures told apart by what is known about their effect. */
import { AppError } from "@manyhands/kit";
import { type Msg, type MsgHdrs, RequestError, TimeoutError } from "@nats-io/transport-node";
import type { Bus } from "./bus.ts";

/** The bus did not answer: nothing is known about whether the request had its effect. */
export class AmbiguousError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "AmbiguousError";
  }
}

/** Throws AppError `unavailable`/BUS_UNAVAILABLE when the server is away: nothing is buffered for later. */
export function assertConnected(bus: Bus): void {
  if (!bus.connected()) throw AppError.unavailable("BUS_UNAVAILABLE", "NATS is away; nothing was sent");
}

/**
 * Sends and waits for one reply. Throws AppError `unavailable` when nothing was sent, AmbiguousError when it was sent
 * and no reply came in time (also when nobody listens: a stream without a leader looks the same).
 */
export async function request(
  bus: Bus,
  subject: string,
  payload: Uint8Array | string,
  timeoutMs: number,
  headers?: MsgHdrs,
): Promise<Msg> {
  assertConnected(bus);
  try {
    return await bus.connection.request(subject, payload, {
      timeout: Math.max(1, Math.ceil(timeoutMs)),
      ...(headers === undefined ? {} : { headers }),
    });
  } catch (error) {
    if (error instanceof TimeoutError) throw new AmbiguousError(`no reply within ${Math.ceil(timeoutMs)} ms`, error);
    if (error instanceof RequestError) throw new AmbiguousError(error.message || "no reply", error);
    throw AppError.unavailable("BUS_UNAVAILABLE", `NATS refused the request: ${String(error)}`, error);
  }
}

/** Turns an AmbiguousError of a read into AppError `unavailable`: a read has no effect, so it may be repeated. */
export function readFailure(what: string, error: unknown): AppError {
  if (error instanceof AppError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return AppError.unavailable("BUS_UNAVAILABLE", `${what} failed: ${why}`, error);
}
