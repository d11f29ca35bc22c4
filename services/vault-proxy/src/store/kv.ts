/**
 * The port under everything this service stores: buckets of small values with compare-and-swap.
 *
 * K1 `create` succeeds for exactly one of many callers. K2 `update` succeeds only on the revision that was read.
 * K3 `purge` leaves nothing of the value behind. K4 a watcher that was armed before a write sees that write.
 */

/** A value and the revision to update it on. */
export type KvEntry = { readonly key: string; readonly value: Uint8Array; readonly revision: number };

/** What a watcher is told; `value` is absent when the key was purged. */
export type KvChange = { readonly key: string; readonly value?: Uint8Array };

/** One bucket. Keys are dot-separated tokens of `A-Z a-z 0-9 _ -`. */
export type Kv = {
  /** The entry, or undefined. */
  get(key: string): Promise<KvEntry | undefined>;
  /** Stores a key that does not exist; answers its revision, or undefined when it exists. */
  create(key: string, value: Uint8Array): Promise<number | undefined>;
  /** Replaces exactly that revision; answers the new one, or undefined when it has moved or is gone. */
  update(key: string, value: Uint8Array, revision: number): Promise<number | undefined>;
  /** Removes a key and its value's bytes; nothing happens when it does not exist. */
  purge(key: string): Promise<void>;
  /** All keys below a prefix of whole tokens, for instance `wrkspc_1`, or all for an empty one; at most `MAX_KEYS`. */
  keys(prefix: string): Promise<readonly string[]>;
  /** Calls back on every later change until the signal aborts. Resolves once it is armed. */
  watch(onChange: (change: KvChange) => void, signal: AbortSignal): Promise<void>;
};

/** The four buckets. */
export type Buckets = {
  /** Vaults and credentials without secrets. */
  readonly vaults: Kv;
  /** Sealed secrets. */
  readonly secrets: Kv;
  /** Bindings and tombstones of sessions. */
  readonly sessions: Kv;
  /** Receipts of tool calls. */
  readonly receipts: Kv;
};

/** A listing of keys fails beyond this many instead of growing without bound. */
export const MAX_KEYS = 100_000;
/** Values are at most this long, in bytes: the bucket's 512 KiB less room for headers. */
export const MAX_VALUE_BYTES = 480 * 1024;
