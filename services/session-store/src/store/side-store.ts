/** The port to what belongs to a session's log but not into its frames. `side-store.contract.ts` is what every one passes. */

/** What a stored object is: a piece of a big output, or the ids of a run of frames. */
export type SideKey =
  | { readonly kind: "blob"; readonly sha256: string; readonly chunk: number }
  | { readonly kind: "ids"; readonly segment: number };

/** One object. */
export interface SideObject {
  readonly key: SideKey;
  readonly bytes: Uint8Array;
}

/**
 * Small objects by session and key, each at most 256 KiB and a little. D1: what is under a key never changes. D2: what
 * `create` has answered is read back by every later `read`, on a lagging replica a moment later. D3: one session's
 * objects are not another's. Failures are AppErrors of kind `unavailable`; every call may be repeated.
 */
export interface SideStore {
  /** Stores the object unless there is one under its key. */
  create(sessionId: string, object: SideObject): Promise<void>;
  /** The bytes under each key, in the order of the keys; undefined where there are none. */
  read(sessionId: string, keys: readonly SideKey[]): Promise<(Uint8Array | undefined)[]>;
  /** Removes everything of a session; answers how many objects went. */
  purge(sessionId: string): Promise<number>;
}
