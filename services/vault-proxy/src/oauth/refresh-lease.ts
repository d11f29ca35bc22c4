/**
 * Who refreshes a credential's tokens, so that one refresh token is used once: rotating ones die of a second use.
 *
 * L1 the intent stands in the store before the request is sent, with the version it starts from. L2 a dead owner's
 * lease runs out; the next owner sees how many requests may have gone out for that version.
 */
import { type Clock, newId } from "@manyhands/kit";
import type { CredentialRef } from "../store/credential-store.ts";
import { storeKeys } from "../store/documents.ts";
import { decodeJson, encodeJson } from "../store/json.ts";
import type { Kv } from "../store/kv.ts";

/** What is stored while, and after an unclear end of, a refresh. */
export type RefreshLease = {
  readonly owner: string;
  /** Secret version whose refresh token is used. */
  readonly version: string;
  /** Requests that were, or may have been, sent with it. */
  readonly attempts: number;
  /** Until then the owner is believed to be at work; 0 once it is not. */
  readonly leaseUntilMs: number;
  /** No further request before this. */
  readonly notBeforeMs: number;
};

/** Held: this process alone may send now. */
export type HeldLease = {
  readonly attempts: number;
  /** Nobody refreshes any more; the version has moved on, or will never be used again. */
  clear(): Promise<void>;
  /** It ended without new tokens; not again before `notBeforeMs`. */
  fail(notBeforeMs: number, wasSent: boolean): Promise<void>;
};

/** How it stands: taken by me, someone else is at it, or not yet time to try again. */
export type LeaseTaken =
  | { readonly type: "held"; readonly lease: HeldLease }
  | { readonly type: "busy" }
  | { readonly type: "later"; readonly attempts: number };

/** Leases in a bucket; `leaseMs` is longer than a request to a token endpoint may take. */
export function refreshLeases(kv: Kv, leaseMs: number, clock: Pick<Clock, "nowMs">) {
  const owner = newId("vp");
  return {
    /** Tries to take the lease for one version. */
    async take(ref: CredentialRef, version: string): Promise<LeaseTaken> {
      const key = storeKeys.refresh(ref.workspace, ref.vault, ref.credential);
      const entry = await kv.get(key);
      const current = entry && decodeJson<RefreshLease>(entry.value);
      const nowMs = clock.nowMs();
      if (current && current.leaseUntilMs > nowMs) return { type: "busy" };
      const attempts = current?.version === version ? current.attempts : 0;
      if (current?.version === version && current.notBeforeMs > nowMs) return { type: "later", attempts };
      const mine = { owner, version, attempts: attempts + 1, leaseUntilMs: nowMs + leaseMs, notBeforeMs: 0 };
      const revision = entry
        ? await kv.update(key, encodeJson(mine), entry.revision)
        : await kv.create(key, encodeJson(mine));
      if (revision === undefined) return { type: "busy" };
      return {
        type: "held",
        lease: {
          attempts,
          clear: () => kv.purge(key),
          async fail(notBeforeMs, wasSent) {
            const sent = wasSent ? mine.attempts : attempts;
            await kv.update(key, encodeJson({ ...mine, attempts: sent, leaseUntilMs: 0, notBeforeMs }), revision);
          },
        },
      };
    },
  };
}

/** The leases of one bucket. */
export type RefreshLeases = ReturnType<typeof refreshLeases>;
