import type { HandGrants } from "./grant.ts";

/** The grants of a hand and the revision a compare-and-swap needs. */
export type StoredGrants = { readonly all: HandGrants; readonly revision: number };

/** Where grants are kept, shared by all managers. Every write is a compare-and-swap. */
export type GrantStore = {
  /** The key that signs tokens: made once, the same for all managers that share the records. */
  key(): Promise<Uint8Array>;
  /** The grants of a hand; none, with revision 0, for a hand that never had any. */
  read(handId: string): Promise<StoredGrants>;
  /** Writes when the revision still is `revision` (0: when there is none yet); undefined when it is not. */
  write(all: HandGrants, revision: number): Promise<StoredGrants | undefined>;
  /** The hand of a grant that was written. */
  handOf(grantId: string): Promise<string | undefined>;
  /** All of them, to find those that nobody needs any more. */
  list(): Promise<readonly StoredGrants[]>;
  /** Removes a hand's grants when their revision still is that. */
  forget(stored: StoredGrants): Promise<void>;
};
