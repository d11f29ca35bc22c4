/**
 * Receipts of calls that may have effects outside: one per operation, durable before the call is sent.
 *
 * R1 whoever holds the receipt sends the call, nobody else; it says so in the receipt before it does. R2 when an owner has
 * stopped renewing, a receipt that says `sent` becomes unknown: the call may have been made. One that does not is proved
 * not to have been sent, and the next who asks takes it over. R3 an end is written once; only what is unknown may
 * still become done, when its owner was merely slow. R4 receipts live as long as their session. R5 an
 * end is told whole: what is too long for its receipt is stored beside it first.
 */

import type { ContentBlock } from "@manyhands/core";
import { AppError, type Clock } from "@manyhands/kit";
import { decodeJson, encodeJson } from "./json.ts";
import type { Kv } from "./kv.ts";
import { purgeBelow } from "./purge.ts";
import { type Spilled, spill, unspill } from "./spilled-content.ts";

/** How a call ended. `KILLED`: stopped by timeout or on request; it may have taken effect in part. */
export type ReceiptEnd = {
  readonly outcome: "COMPLETED" | "NOT_STARTED" | "KILLED" | "UNKNOWN";
  readonly content: readonly ContentBlock[];
  readonly isError: boolean;
  /** What to tell the session's user about the server. */
  readonly failure?: { readonly kind: "connection" | "authentication"; readonly message: string };
};

/** A receipt as it is told. */
export type Receipt = {
  readonly digest: string;
  readonly owner: string;
  readonly startedAtMs: number;
  /** While it is in the future, the owner lives; meaningless once ended. */
  readonly leaseUntilMs: number;
  /** The request is about to go out, or has. */
  readonly sent?: true;
  /** Somebody asked the owner to stop. */
  readonly cancel?: true;
  readonly end?: ReceiptEnd;
};

/** A receipt as it is stored: a long content lies beside it. */
type Stored = Omit<Receipt, "end"> & { readonly end?: ReceiptEnd & { readonly spilled?: Spilled } };

/** Names one operation of one session. */
export type ReceiptRef = { readonly session: string; readonly operation: string };

/** A receipt that this process owns: it alone may send the call now. */
export type HeldReceipt = {
  /** To be called right before the first byte may go out. Rejects when the receipt is not this process's any more. */
  sending(): Promise<void>;
  /** It is proved that the server did nothing: as if nothing had been sent. */
  notReached(): Promise<void>;
  /** Says that the owner lives; answers true when it was asked to stop. */
  renew(): Promise<boolean>;
  /** Writes how it ended; answers what stands then, which is another process's where this one has lost the receipt. */
  end(end: ReceiptEnd): Promise<Receipt>;
};

/** Receipts in a bucket. */
export type ReceiptStore = {
  /** Takes the operation: held by this process now, or what is stored of it, ended or not. ABORTED for another call's. */
  take(ref: ReceiptRef, digest: string): Promise<HeldReceipt | Receipt>;
  /** Asks the owner to stop. */
  cancel(ref: ReceiptRef): Promise<void>;
  /** Removes every receipt of a session that has ended. */
  purge(session: string): Promise<void>;
};

const ATTEMPTS = 8;

/** True for the receipt that was just created here. */
export function isHeld(taken: HeldReceipt | Receipt): taken is HeldReceipt {
  return "renew" in taken;
}

/**
 * Receipts; `owner` is unique to this process: unlike its instance id it never comes back after a restart.
 * `leaseMs` is how long an owner is believed to live without a renewal.
 */
export function receiptStore(receipts: Kv, owner: string, leaseMs: number, clock: Pick<Clock, "nowMs">): ReceiptStore {
  const keyOf = ({ session, operation }: ReceiptRef) => `${session}.${operation}`;
  const swap = async (ref: ReceiptRef, change: (current: Stored) => Stored): Promise<Stored> => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const entry = await receipts.get(keyOf(ref));
      if (!entry) throw AppError.notFound("operation", ref.operation);
      const current = decodeJson<Stored>(entry.value);
      const next = change(current);
      if (next === current) return current;
      if ((await receipts.update(keyOf(ref), encodeJson(next), entry.revision)) !== undefined) return next;
    }
    throw AppError.unavailable("TOO_MUCH_CONTENTION", "others changed the same receipt at the same time");
  };
  const whole = async (ref: ReceiptRef, { end, ...receipt }: Stored): Promise<Receipt> => {
    if (!end) return receipt;
    const { spilled, ...rest } = end;
    const content = spilled ? await unspill(receipts, keyOf(ref), spilled) : end.content;
    return { ...receipt, end: { ...rest, content } };
  };
  const lease = () => clock.nowMs() + leaseMs;
  const held = (ref: ReceiptRef): HeldReceipt => ({
    async sending() {
      await swap(ref, (current) => {
        if (current.end || current.owner !== owner) {
          throw AppError.conflict("RECEIPT_LOST", `operation ${ref.operation} is another process's by now`);
        }
        return current.sent ? current : { ...current, sent: true, leaseUntilMs: lease() };
      });
    },
    async notReached() {
      await swap(ref, (current) => {
        if (current.end || current.owner !== owner || !current.sent) return current;
        const { sent: _, ...rest } = current;
        return rest;
      });
    },
    async renew() {
      const isMine = (current: Stored) => !current.end && current.owner === owner;
      const now = await swap(ref, (current) => (isMine(current) ? { ...current, leaseUntilMs: lease() } : current));
      return now.cancel === true || !isMine(now);
    },
    async end(end) {
      const spilled = await spill(receipts, keyOf(ref), end.content);
      const toStore = spilled ? { ...end, content: [], spilled } : end;
      try {
        const stands = await swap(ref, (current) => {
          const isOver = current.owner !== owner || (current.end && current.end.outcome !== "UNKNOWN");
          return isOver ? current : { ...current, end: toStore };
        });
        return stands.end === toStore ? { ...stands, end } : await whole(ref, stands);
      } catch (error) {
        // The session may have ended and taken its receipts along; nothing may stay behind.
        if (spilled && !(await receipts.get(keyOf(ref)))) await purgeBelow(receipts, keyOf(ref));
        throw error;
      }
    },
  });
  /** R2: what a dead owner left behind becomes unknown, or this process's. */
  const settle = async (ref: ReceiptRef, receipt: Stored): Promise<HeldReceipt | Receipt> => {
    if (receipt.end || receipt.leaseUntilMs > clock.nowMs()) return whole(ref, receipt);
    let isTaken = false;
    const now = await swap(ref, (current) => {
      isTaken = false;
      if (current.end || current.leaseUntilMs > clock.nowMs()) return current;
      isTaken = !current.sent;
      if (isTaken) return { ...current, owner, leaseUntilMs: lease() };
      return { ...current, end: { outcome: "UNKNOWN", content: [], isError: true } };
    });
    return isTaken ? held(ref) : whole(ref, now);
  };

  return {
    async take(ref, digest) {
      const fresh: Receipt = { digest, owner, startedAtMs: clock.nowMs(), leaseUntilMs: lease() };
      if ((await receipts.create(keyOf(ref), encodeJson(fresh))) !== undefined) return held(ref);
      const entry = await receipts.get(keyOf(ref));
      if (!entry) throw AppError.unavailable("RECEIPT_GONE", "the receipt of this operation was just removed");
      const receipt = decodeJson<Stored>(entry.value);
      if (receipt.digest !== digest) {
        throw AppError.conflict("OPERATION_CONFLICT", `operation ${ref.operation} was used for another call`);
      }
      return settle(ref, receipt);
    },
    async cancel(ref) {
      if (!(await receipts.get(keyOf(ref)))) return;
      await swap(ref, (current) => (current.end || current.cancel ? current : { ...current, cancel: true }));
    },
    purge: (session) => purgeBelow(receipts, session),
  };
}
