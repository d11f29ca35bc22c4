/** Wakes: a durable request that some brain looks at a session now, at most one pending per session. */
import { AppError } from "@manyhands/kit";
import { headers } from "@nats-io/transport-node";
import type { Bus } from "./bus.ts";
import { AmbiguousError, request } from "./request.ts";
import { headerNames, subjects } from "./subjects.ts";

interface PubAck {
  seq?: number;
  error?: { err_code?: number; description?: string };
}

const maxPerSubjectExceeded = 10_077;

/**
 * Publishes a wake and waits for its acknowledgement. `pending` means that one is stored already, perhaps held by a
 * brain right now. Throws AppError `unavailable` when it is not known to be stored; repeating is safe.
 */
export async function publishWake(
  bus: Bus,
  wake: { readonly kind: string; readonly sessionId: string; readonly traceparent?: string },
  timeoutMs = 5000,
): Promise<"published" | "pending"> {
  const head = headers();
  if (wake.traceparent !== undefined) head.set(headerNames.traceparent, wake.traceparent);
  try {
    const ack = (await request(bus, subjects.wake(wake.kind, wake.sessionId), "", timeoutMs, head)).json<PubAck>();
    if (ack.error === undefined) return "published";
    if (ack.error.err_code === maxPerSubjectExceeded) return "pending";
    throw new AmbiguousError(ack.error.description ?? "the wake was refused");
  } catch (error) {
    if (error instanceof AppError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw AppError.unavailable("WAKE_NOT_STORED", `the wake is not known to be stored: ${why}`, error);
  }
}
