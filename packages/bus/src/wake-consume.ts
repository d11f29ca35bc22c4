/**
 * Takes wakes of one harness kind from the work queue. W1: a wake is held by `working()` beats until it is settled.
 * W2: at most `concurrency` are held, and none is taken while `room` is full, but by `takeWaiting`; nothing is prefetched.
 * W3: after `stop` no new one is taken, and one that still arrives goes back at once. W4: a handler that throws gives the
 * wake back after a growing delay.
 */
import { AppError, backoffMs, systemClock } from "@manyhands/kit";
import {
  AckPolicy,
  type Consumer,
  DeliverPolicy,
  JetStreamApiError,
  type JsMsg,
  jetstream,
  jetstreamManager,
  ReplayPolicy,
} from "@nats-io/jetstream";
import type { Msg } from "@nats-io/transport-node";
import type { Bus } from "./bus.ts";
import { parseWakeSubject } from "./parse-subject.ts";
import { assertConnected, readFailure } from "./request.ts";
import { headerNames, subjects, subjectToken } from "./subjects.ts";
import { confirmMs, driveHeld, holdWake, type Wake } from "./wake-hold.ts";

/** How wakes are taken. */
export interface WakeConsumerOptions {
  readonly kind: string;
  /** Most wakes held at a time. */
  readonly concurrency: number;
  /** What consumers of several kinds share; absent means that `concurrency` alone bounds the taking. */
  readonly room?: WakeRoom;
  /** A wake whose holder has not beaten for so long goes to another; default 2000. */
  readonly ackWaitMs?: number;
  /** Drives the session. Resolving without settling means `done`; throwing means `release` with a growing delay. */
  handle(wake: Wake): Promise<void>;
}

/** Room for wakes. One that was asked for while there was room may still come when there is none. */
export interface WakeRoom {
  isFull(): boolean;
  /** Resolves when there is room, or when the signal aborts. */
  whenFree(signal: AbortSignal): Promise<void>;
}

/** A running consumer. */
export interface WakeConsumer {
  /** Number of wakes held now. */
  readonly held: () => number;
  /**
   * Takes one wake, whatever the bounds, if one waits that no consumer of its kind asks for at the moment; false when none
   * does. Throws AppError `unavailable` when that cannot be told.
   */
  takeWaiting(handle: (wake: Wake) => Promise<void>): Promise<boolean>;
  /** Takes no more (W3) and waits for the handlers; the caller tells them to hand back. */
  stop(): Promise<void>;
}

const nanosPerMs = 1_000_000;
const pullExpiresMs = 1000;
const defaultAckWaitMs = 2000;
const noSuchConsumer = 10014;

/** Makes the durable consumer if needed and starts taking wakes. Throws AppError `unavailable` when it cannot. */
export async function consumeWakes(bus: Bus, options: WakeConsumerOptions): Promise<WakeConsumer> {
  const ackWaitMs = options.ackWaitMs ?? defaultAckWaitMs;
  await ensureConsumer(bus, options.kind, ackWaitMs);
  const running = new Set<Promise<void>>();
  const stopped = new AbortController();
  const loop = takeWakes(bus, options, ackWaitMs, running, stopped.signal);
  let stopping: Promise<void> | undefined;
  return {
    held: () => running.size,
    async takeWaiting(handle) {
      const message = stopped.signal.aborted ? undefined : await takeNow(bus, options.kind);
      if (message === undefined) return false;
      if (stopped.signal.aborted) bus.connection.publish(message.reply ?? "", "-NAK");
      else track(running, drive(bus, { ...options, handle }, ackWaitMs, message));
      return !stopped.signal.aborted;
    },
    stop() {
      stopping ??= (async () => {
        stopped.abort();
        await Promise.race([loop, systemClock.sleep(pullExpiresMs + 500)]);
        await Promise.all(running);
      })();
      return stopping;
    },
  };
}

/** Name of the durable consumer of a harness kind. */
export function wakeConsumerName(kind: string): string {
  return `wake-${subjectToken("harness_kind", kind)}`;
}

/** True when a harness of this kind was started at least once: its durable consumer is there. */
export async function hasWakeConsumer(bus: Bus, kind: string): Promise<boolean> {
  try {
    const manager = await jetstreamManager(bus.connection, { timeout: confirmMs });
    await manager.consumers.info("MH_WAKE", wakeConsumerName(kind));
    return true;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === noSuchConsumer) return false;
    const why = error instanceof Error ? error.message : String(error);
    throw AppError.unavailable("CONSUMER_UNAVAILABLE", `the wake consumers cannot be read: ${why}`, error);
  }
}

async function ensureConsumer(bus: Bus, kind: string, ackWaitMs: number): Promise<void> {
  const config = {
    durable_name: wakeConsumerName(kind),
    filter_subject: subjects.wakesOf(kind),
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    replay_policy: ReplayPolicy.Instant,
    ack_wait: ackWaitMs * nanosPerMs,
    max_deliver: -1,
    max_ack_pending: 10_000,
  };
  try {
    const manager = await jetstreamManager(bus.connection, { timeout: confirmMs });
    await manager.consumers.add("MH_WAKE", config);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw AppError.unavailable("CONSUMER_UNAVAILABLE", `the wake consumer cannot be made: ${why}`, error);
  }
}

async function takeWakes(
  bus: Bus,
  options: WakeConsumerOptions,
  ackWaitMs: number,
  running: Set<Promise<void>>,
  stopped: AbortSignal,
): Promise<void> {
  let consumer: Consumer | undefined;
  for (let failures = 0; !stopped.aborted; ) {
    try {
      if (running.size >= options.concurrency) {
        await oneEnded(running, stopped);
        continue;
      }
      if (options.room?.isFull()) {
        await options.room.whenFree(stopped);
        continue;
      }
      consumer ??= await jetstream(bus.connection).consumers.get("MH_WAKE", wakeConsumerName(options.kind));
      const message = await consumer.next({ expires: pullExpiresMs });
      failures = 0;
      if (message === null) continue;
      if (stopped.aborted) message.nak();
      else track(running, drive(bus, options, ackWaitMs, delivered(message)));
    } catch (error) {
      if (bus.connection.isClosed()) return;
      failures += 1;
      consumer = undefined;
      bus.logger.warn({ err: error, failures }, "wakes cannot be taken");
      await systemClock.sleep(backoffMs(failures, { initialMs: 100, maxMs: 2000 }), stopped).catch(() => undefined);
      if (failures % 5 === 0) await ensureConsumer(bus, options.kind, ackWaitMs).catch(() => undefined);
    }
  }
}

/** The message does not say that it has a reply subject, though it has. */
function delivered(message: JsMsg): Delivered {
  const reply = "reply" in message && typeof message.reply === "string" ? { reply: message.reply } : {};
  return { subject: message.subject, ...(message.headers === undefined ? {} : { headers: message.headers }), ...reply };
}

function track(running: Set<Promise<void>>, work: Promise<void>): void {
  running.add(work);
  work.finally(() => running.delete(work)).catch(() => undefined);
}

/** Resolves when one of them has ended, or when the signal aborts; the signal, which lives on, keeps nothing of it. */
async function oneEnded(running: ReadonlySet<Promise<void>>, signal: AbortSignal): Promise<void> {
  const { promise: aborted, resolve } = Promise.withResolvers<void>();
  const onAbort = () => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([...running, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** What of a message makes a wake; its reply subject is where it is acknowledged. */
type Delivered = Pick<Msg, "subject" | "headers"> & { readonly reply?: string };

/** One that is there at this moment. The message comes under its own subject, hence an inbox of its own. */
async function takeNow(bus: Bus, kind: string): Promise<Delivered | undefined> {
  assertConnected(bus);
  const subject = `$JS.API.CONSUMER.MSG.NEXT.MH_WAKE.${wakeConsumerName(kind)}`;
  const order = JSON.stringify({ batch: 1, no_wait: true });
  try {
    const message = await bus.connection.request(subject, order, { timeout: confirmMs, noMux: true });
    return parseWakeSubject(message.subject) === undefined ? undefined : message; // else a status: there is none
  } catch (error) {
    throw readFailure("taking a wake that waits", error);
  }
}

/** How often it was delivered: `$JS.ACK.[domain.account.]stream.consumer.count…`. */
function deliveryOf(ticket: string): number {
  const tokens = ticket.split(".");
  return Number(tokens[tokens.length > 10 ? 6 : 4]);
}

async function drive(bus: Bus, options: WakeConsumerOptions, ackWaitMs: number, message: Delivered): Promise<void> {
  const parsed = parseWakeSubject(message.subject);
  const ticket = message.reply ?? "";
  if (parsed === undefined || ticket === "") {
    if (ticket !== "") bus.connection.publish(ticket, "+TERM");
    return;
  }
  const delivery = deliveryOf(ticket);
  const traceparent = message.headers?.last(headerNames.traceparent);
  const facts = { ...parsed, delivery, ...(traceparent ? { traceparent } : {}) };
  await driveHeld(bus, holdWake(bus, { facts, ticket, ackWaitMs }), options.handle);
}
