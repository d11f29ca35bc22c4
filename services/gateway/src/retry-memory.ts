/**
 * Recognises the official clients' own retries. They repeat a POST after a lost answer without any idempotency key and
 * say so only by `x-stainless-retry-count` > 0. The first try's request id is remembered by what was asked (key, path,
 * body); a try that says it is a retry gets that same id, and session-store answers with what the first one made. Two
 * equal requests that are no retries stay two.
 *
 * Limits: the memory is this replica's (a retry that reaches another replica, or comes after a restart, is a new
 * request to it; for events.send the log itself is asked then), holds MAX_ENTRIES, and forgets after REMEMBER_MS,
 * which is longer than the clients' default timeout of ten minutes.
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
};

/** Gives requests their downstream id. */
export type RetryMemory = { identify(mark: RequestMark): RequestIdentity };

const MAX_ENTRIES = 10_000;
const REMEMBER_MS = 15 * 60_000;

/** An empty memory; `nowMs` for tests. */
export function createRetryMemory(nowMs: () => number = Date.now): RetryMemory {
  const known = new Map<string, { requestId: string; atMs: number }>();
  return {
    identify({ scope, body, idempotencyKey, retryCount }) {
      if (idempotencyKey !== undefined) {
        // Derived, not remembered: the same key gives the same id on every replica, for as long as the log lives.
        return { requestId: idOf("key", scope, idempotencyKey), repeated: false, orphanRetry: false };
      }
      const mark = idOf("body", scope, body);
      const now = nowMs();
      const earlier = known.get(mark);
      const alive = earlier !== undefined && now - earlier.atMs < REMEMBER_MS ? earlier : undefined;
      if (retryCount > 0 && alive) return { requestId: alive.requestId, repeated: true, orphanRetry: false };
      const requestId = randomUUID();
      known.delete(mark);
      known.set(mark, { requestId, atMs: now });
      forget(known);
      return { requestId, repeated: false, orphanRetry: retryCount > 0 };
    },
  };
}

/** Insertion order is age, so the oldest goes first. */
function forget(known: Map<string, unknown>): void {
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
