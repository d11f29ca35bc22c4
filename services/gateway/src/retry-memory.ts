/**
 * Recognises the official clients' own retries. They repeat a POST after a lost answer without any idempotency key and
 * say so only by `x-stainless-retry-count` > 0. The first try's request id is remembered by what was asked (key, path,
 * body); a try that says it is a retry gets that same id, and the service behind answers with what the first one made.
 * Two equal requests that are no retries stay two.
 *
 * A first try that never arrived leaves nothing to remember, and its retry must not be taken for one of an earlier,
 * equal request. So an entry is forgotten SETTLED_MS after its answer was handed over; without an answer it is kept
 * REMEMBER_MS, which is longer than the clients' default timeout of ten minutes.
 *
 * Limits: the memory is this replica's (a retry that reaches another replica, or comes after a restart, is a new
 * request to it; for events.send the log itself is asked then) and holds MAX_ENTRIES. Clients that cannot live with
 * that send an `Idempotency-Key`.
 */
import { createHash, randomUUID } from "node:crypto";

/** What is known about where a request comes from. */
export type RequestMark = {
  /** Who asks and what: key id, method, path. */
  readonly scope: string;
  /** The raw body. */
  readonly body: string;
  /** `Idempotency-Key`, when given. */
  readonly idempotencyKey: string | undefined;
  /** `x-stainless-retry-count`; 0 when absent. */
  readonly retryCount: number;
};

/** The id under which a request is made downstream. */
export type RequestIdentity = {
  readonly requestId: string;
  /** True when an earlier request of the same mark has the same id. */
  readonly repeated: boolean;
  /** True when the client says that this is a retry, but nothing is known of a first try. */
  readonly orphanRetry: boolean;
  /** Called when the client was told that the request succeeded. */
  settled(): void;
};

/** Gives requests their downstream id. */
export type RetryMemory = { identify(mark: RequestMark): RequestIdentity };

const MAX_ENTRIES = 10_000;
const REMEMBER_MS = 15 * 60_000;
const SETTLED_MS = 10_000;

type Entry = { readonly requestId: string; forgetAtMs: number };

/** An empty memory; `nowMs` for tests. */
export function createRetryMemory(nowMs: () => number = Date.now): RetryMemory {
  const known = new Map<string, Entry>();
  return {
    identify({ scope, body, idempotencyKey, retryCount }) {
      if (idempotencyKey !== undefined) {
        // Derived, not remembered: the same key gives the same id on every replica, for as long as the log lives.
        const requestId = idOf("key", scope, idempotencyKey);
        return { requestId, repeated: false, orphanRetry: false, settled: () => undefined };
      }
      const mark = idOf("body", scope, body);
      const earlier = known.get(mark);
      const match = retryCount > 0 && earlier !== undefined && nowMs() < earlier.forgetAtMs ? earlier : undefined;
      const entry = match ?? { requestId: randomUUID(), forgetAtMs: nowMs() + REMEMBER_MS };
      // Insertion order is age, so the oldest is the one that goes.
      known.delete(mark);
      known.set(mark, entry);
      dropOldest(known);
      return {
        requestId: entry.requestId,
        repeated: match !== undefined,
        orphanRetry: retryCount > 0 && match === undefined,
        settled: () => {
          entry.forgetAtMs = Math.min(entry.forgetAtMs, nowMs() + SETTLED_MS);
        },
      };
    },
  };
}

function dropOldest(known: Map<string, Entry>): void {
  if (known.size <= MAX_ENTRIES) return;
  const oldest = known.keys().next();
  if (!oldest.done) known.delete(oldest.value);
}

/** Same parts, same id; shaped as a UUID because that is what request ids are downstream. */
function idOf(...parts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  const hex = hash.digest("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    "-",
  );
}
