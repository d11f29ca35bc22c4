/** Core subscriptions: the tail of a session and its token deltas. Both are hints that may be missed. */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Delta, DeltaSchema } from "@manyhands/protocol";
import type { Bus } from "./bus.ts";
import { frameOf, type StoredFrame } from "./frame-read.ts";
import { subjects } from "./subjects.ts";

/** Ends a subscription; twice is fine. */
export type Unsubscribe = () => void;

/**
 * Calls back with each frame of the session right after it was stored (the server's republish, never the publish
 * itself). Resolves when the server has the subscription: what is stored from then on is delivered, as long as the
 * connection holds; fill gaps from the log.
 */
export async function subscribeTail(
  bus: Bus,
  sessionId: string,
  onFrame: (frame: StoredFrame) => void,
): Promise<Unsubscribe> {
  const subscription = bus.connection.subscribe(subjects.tailOf(sessionId), {
    callback: (error, msg) => {
      if (error !== null) return;
      const frame = frameOf(msg.subject, {
        sequence: Number(msg.headers?.last("Nats-Sequence") ?? "0"),
        data: msg.data,
        header: (name) => msg.headers?.last(name) || undefined,
      });
      if (frame !== undefined) onFrame(frame);
    },
  });
  await bus.connection.flush();
  return () => subscription.unsubscribe();
}

/** Publishes a token delta. Never throws for an absent bus: a lost delta is replaced by its durable event. */
export function publishDelta(bus: Bus, sessionId: string, delta: Delta): void {
  const subject = subjects.delta(sessionId);
  if (bus.connected()) bus.connection.publish(subject, toBinary(DeltaSchema, delta));
}

/** Calls back with each delta of the session. Deltas that cannot be decoded are dropped. */
export async function subscribeDeltas(
  bus: Bus,
  sessionId: string,
  onDelta: (delta: Delta) => void,
): Promise<Unsubscribe> {
  const subscription = bus.connection.subscribe(subjects.delta(sessionId), {
    callback: (error, msg) => {
      if (error !== null) return;
      try {
        onDelta(fromBinary(DeltaSchema, msg.data));
      } catch (cause) {
        bus.logger.debug({ err: cause, session_id: sessionId }, "a delta cannot be decoded");
      }
    },
  });
  await bus.connection.flush();
  return () => subscription.unsubscribe();
}
