/** One bounded request over the bus, with failures told apart by what is known about their effect. */
import { AppError } from "@manyhands/kit";
import type { Msg, MsgHdrs } from "@nats-io/transport-node";
import type { Bus } from "./bus.ts";
import type { Question } from "./replies.ts";

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
  const waitMs = Math.max(1, Math.ceil(timeoutMs));
  const reply = await ask(bus, { subject, payload, timeoutMs: waitMs, ...(headers === undefined ? {} : { headers }) });
  if (reply === undefined) throw new AmbiguousError(`no reply within ${waitMs} ms`);
  if (reply.data.length === 0 && reply.headers?.code === noResponders) throw new AmbiguousError("nobody listens");
  return reply;
}

async function ask(bus: Bus, question: Question): Promise<Msg | undefined> {
  try {
    return await bus.replies.ask(question);
  } catch (error) {
    throw AppError.unavailable("BUS_UNAVAILABLE", `NATS refused the request: ${String(error)}`, error);
  }
}

const noResponders = 503;

/** Turns an AmbiguousError of a read into AppError `unavailable`: a read has no effect, so it may be repeated. */
export function readFailure(what: string, error: unknown): AppError {
  if (error instanceof AppError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return AppError.unavailable("BUS_UNAVAILABLE", `${what} failed: ${why}`, error);
}
