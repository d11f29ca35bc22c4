/**
 * Receipts of calls that may have effects outside: one per operation, durable before the call is sent.
 *
 * R1 whoever creates the receipt sends the call, nobody else ever. R2 a receipt that says `pending` and whose owner has
 * stopped renewing it becomes `unknown`: the call may have been made. R3 an end is written once; only what is unknown may
 * still become done, when its owner was merely slow. R4 receipts live as long as their session.
 */

import type { ContentBlock } from "@manyhands/core";
import { AppError, type Clock } from "@manyhands/kit";
import { decodeJson, encodeJson } from "./json.ts";
import type { Kv } from "./kv.ts";
import { purgeBelow } from "./purge.ts";

/** How a call ended. `KILLED`: stopped by timeout or on request; it may have taken effect in part. */
export type ReceiptEnd = {
  readonly outcome: "COMPLETED" | "NOT_STARTED" | "KILLED" | "UNKNOWN";
  readonly content: readonly ContentBlock[];
  readonly isError: boolean;
  /** What to tell the session's user about the server. */
  readonly failure?: { readonly kind: "connection" | "authentication"; readonly message: string };
};

/** What is stored. */
export type Receipt = {
  readonly digest: string;
  readonly owner: string;
  readonly startedAtMs: number;
  /** While it is in the future, the owner lives; meaningless once ended. */
  readonly leaseUntilMs: number;
  /** Somebody asked the owner to stop. */
  readonly cancel?: true;
  readonly end?: ReceiptEnd;
};

/** Names one operation of one session. */
export type ReceiptRef = { readonly session: string; readonly operation: string };

/** A receipt that this process has just created: it alone may send the call now. */
export type HeldReceipt = {
  /** Says that the owner lives; answers true when it was asked to stop. */
  renew(): Promise<boolean>;
  /** Writes how it ended. */
  end(end: ReceiptEnd): Promise<void>;
};

/** Receipts in a bucket. */
export type ReceiptStore = {
  /** Takes the operation: held by this process now, or what is stored of it. ABORTED when it was another call. */
  take(ref: ReceiptRef, digest: string): Promise<HeldReceipt | Receipt>;
  /** What is stored now; a dead owner's receipt has become unknown. */
  read(ref: ReceiptRef): Promise<Receipt | undefined>;
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
  const swap = async (ref: ReceiptRef, change: (current: Receipt) => Receipt): Promise<Receipt> => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const entry = await receipts.get(keyOf(ref));
      if (!entry) throw AppError.notFound("operation", ref.operation);
      const current = decodeJson<Receipt>(entry.value);
      const next = change(current);
      if (next === current) return current;
      if ((await receipts.update(keyOf(ref), encodeJson(next), entry.revision)) !== undefined) return next;
    }
    throw AppError.unavailable("TOO_MUCH_CONTENTION", "others changed the same receipt at the same time");
  };
  const lease = () => clock.nowMs() + leaseMs;
  const settled = async (ref: ReceiptRef, receipt: Receipt): Promise<Receipt> => {
    if (receipt.end || receipt.leaseUntilMs > clock.nowMs()) return receipt;
    return swap(ref, (current) => {
      if (current.end || current.leaseUntilMs > clock.nowMs()) return current;
      return { ...current, end: { outcome: "UNKNOWN", content: [], isError: true } };
    });
  };
  const held = (ref: ReceiptRef): HeldReceipt => ({
    async renew() {
      const now = await swap(ref, (current) => (current.end ? current : { ...current, leaseUntilMs: lease() }));
      return now.cancel === true || now.end !== undefined;
    },
    async end(end) {
      await swap(ref, (current) => (current.end && current.end.outcome !== "UNKNOWN" ? current : { ...current, end }));
    },
  });

  return {
    async take(ref, digest) {
      const fresh: Receipt = { digest, owner, startedAtMs: clock.nowMs(), leaseUntilMs: lease() };
      if ((await receipts.create(keyOf(ref), encodeJson(fresh))) !== undefined) return held(ref);
      const entry = await receipts.get(keyOf(ref));
      if (!entry) throw AppError.unavailable("RECEIPT_GONE", "the receipt of this operation was just removed");
      const receipt = decodeJson<Receipt>(entry.value);
      if (receipt.digest !== digest) {
        throw AppError.conflict("OPERATION_CONFLICT", `operation ${ref.operation} was used for another call`);
      }
      return settled(ref, receipt);
    },
    async read(ref) {
      const entry = await receipts.get(keyOf(ref));
      return entry && settled(ref, decodeJson<Receipt>(entry.value));
    },
    async cancel(ref) {
      if (!(await receipts.get(keyOf(ref)))) return;
      await swap(ref, (current) => (current.end || current.cancel ? current : { ...current, cancel: true }));
    },
    purge: (session) => purgeBelow(receipts, session),
  };
}
