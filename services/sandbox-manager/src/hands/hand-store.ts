import type { HandRecord, StoredHand } from "./hand-record.ts";

/** Where a hand is moved, and when. */
export type MoveTarget = {
  readonly moveId: string;
  readonly sessionId: string;
  readonly name: string;
  readonly atMs: number;
  /** The latest operations that its session up to now began in it; absent: none. */
  readonly operations?: readonly string[];
};

/** Where hand records are kept, shared by all managers. Every write is a compare-and-swap. */
export type HandStore = {
  /**
   * Names the platform whose records these are: the same for all managers that share them, and for no other. Several
   * platforms may use one engine; this keeps each from taking the other's containers for orphans.
   */
  platformId(): Promise<string>;
  /** The record of a session's hand of this name. */
  current(sessionId: string, name: string): Promise<StoredHand | undefined>;
  /** The record of this hand; of a hand that was replaced, its successor's (the ids differ). */
  byId(handId: string): Promise<StoredHand | undefined>;
  /** Writes when the revision still is `revision` (0: when there is none yet); undefined when it is not. */
  write(record: HandRecord, revision: number): Promise<StoredHand | undefined>;
  /**
   * Moves a living hand to another session and name, in one step for whoever looks by its id: `found` becomes the
   * record of a released hand that says where it went. Undefined when `found` is no longer the latest, or the other
   * place has a living hand.
   */
  move(found: StoredHand, to: MoveTarget): Promise<StoredHand | undefined>;
  /** Records of one session, or all, ordered by session and name. */
  list(sessionId?: string): Promise<readonly StoredHand[]>;
};
