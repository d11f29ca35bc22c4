/**
 * A wake in the hands of one process. Whoever knows its acknowledgement subject, its ticket, can beat for it and settle
 * it: that is how a wake that was delivered to one brain is passed to another, which has the session in its memory.
 */
import { backoffMs } from "@manyhands/kit";
import type { Bus } from "./bus.ts";
import type { Unsubscribe } from "./live.ts";
import { AmbiguousError, request } from "./request.ts";
import { subjects } from "./subjects.ts";

/** A wake that this process holds. */
export interface Wake {
  readonly kind: string;
  readonly sessionId: string;
  /** 1 for the first delivery; more after a brain died or gave it back. */
  readonly delivery: number;
  /** W3C trace context of the cause. */
  readonly traceparent?: string;
  /** Settles it for good; resolves when the server has confirmed, so that a later wake is a new one. */
  done(): Promise<void>;
  /** Gives it back, to be delivered again after `delayMs` (default at once), perhaps to another process. */
  release(delayMs?: number): Promise<void>;
  /** Lets go without a word: another process holds it by now, and neither answer would be this one's to give. */
  abandon(): void;
  /**
   * Offers it to the brain that drives the session already or kept it warm. True when that one holds it from now on;
   * false, soon, when there is none. Never rejects.
   */
  pass(): Promise<boolean>;
}

/** How long the server may take to confirm an acknowledgement. */
export const confirmMs = 5000;

/** An offer that a brain does not answer within this is off: it is stopped, or far too busy. */
const offerMs = 200;
/** Acknowledgements of wakes, with or without a domain. */
const ticketForm = /^\$JS\.ACK\.(\w+\.\w+\.)?MH_WAKE\.[\w.-]+$/;
const nanosPerMs = 1_000_000;

/** A wake as it was delivered. */
export interface DeliveredWake {
  readonly facts: Pick<Wake, "kind" | "sessionId" | "delivery" | "traceparent">;
  readonly ticket: string;
  readonly ackWaitMs: number;
}

/** Holds a wake by beats until it is settled, once. */
export function holdWake(bus: Bus, { facts, ticket, ackWaitMs }: DeliveredWake): Wake {
  const say = (word: string) => {
    if (!bus.connection.isClosed()) bus.connection.publish(ticket, word);
  };
  const beat = setInterval(() => say("+WPI"), Math.floor(ackWaitMs / 3));
  let settled = false;
  const letGo = () => {
    settled = true;
    clearInterval(beat);
  };
  return {
    ...facts,
    async done() {
      if (settled) return;
      letGo();
      await request(bus, ticket, "+ACK", confirmMs); // unconfirmed means it may come again, which every brain bears
    },
    async release(delayMs = 0) {
      if (settled) return;
      letGo();
      say(delayMs > 0 ? `-NAK ${JSON.stringify({ delay: delayMs * nanosPerMs })}` : "-NAK");
    },
    abandon: letGo,
    async pass() {
      if (settled || !(await isTaken(bus, facts, ticket))) return false;
      letGo();
      return true;
    },
  };
}

async function isTaken(bus: Bus, { kind, sessionId, delivery }: DeliveredWake["facts"], ticket: string) {
  const offer: Offer = { kind, delivery, ticket };
  try {
    return (await request(bus, subjects.wakeOffer(sessionId), JSON.stringify(offer), offerMs)).string() === "+";
  } catch (error) {
    if (!(error instanceof AmbiguousError))
      bus.logger.debug({ err: error, session_id: sessionId }, "no offer was made");
    return false;
  }
}

/** Lets a handler drive a held wake. Resolving without settling means `done`; throwing means back, after a growing delay. */
export async function driveHeld(bus: Bus, wake: Wake, handle: (wake: Wake) => Promise<void>): Promise<void> {
  const { delivery, sessionId } = wake;
  try {
    await handle(wake);
    await wake.done();
  } catch (error) {
    bus.logger.warn({ err: error, session_id: sessionId, delivery }, "a wake was given back");
    await wake.release(backoffMs(Math.min(delivery, 10), { initialMs: 200, maxMs: 10_000 })).catch(() => undefined);
  } finally {
    wake.abandon();
  }
}

interface Offer {
  readonly kind: string;
  readonly delivery: number;
  readonly ticket: string;
}

/** What the brain that knows a session does with offers. */
export interface OfferTaker {
  readonly ackWaitMs: number;
  /** Whether the wake is wanted. Decided at once: who offers waits for it. */
  wants(sessionId: string): boolean;
  /** Drives the session, as a handler of delivered wakes does. */
  take(wake: Wake): Promise<void>;
}

/** Answers offers of a session's wakes from now on. */
export function answerOffers(bus: Bus, sessionId: string, taker: OfferTaker): Unsubscribe {
  const subscription = bus.connection.subscribe(subjects.wakeOffer(sessionId), {
    callback: (error, msg) => {
      if (error !== null) return;
      const offer = parseOffer(msg.string());
      if (offer === undefined || !taker.wants(sessionId)) {
        msg.respond("-");
        return;
      }
      msg.respond("+");
      const { kind, delivery, ticket } = offer;
      const wake = holdWake(bus, { facts: { kind, sessionId, delivery }, ticket, ackWaitMs: taker.ackWaitMs });
      void driveHeld(bus, wake, (held) => taker.take(held));
    },
  });
  return () => subscription.unsubscribe();
}

/** Undefined for anything but an offer of a wake: nothing else may be acknowledged on somebody's word. */
function parseOffer(text: string): Offer | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { kind, delivery, ticket } = value as Partial<Record<keyof Offer, unknown>>;
  if (typeof kind !== "string" || typeof delivery !== "number" || typeof ticket !== "string") return undefined;
  return ticketForm.test(ticket) ? { kind, delivery, ticket } : undefined;
}
