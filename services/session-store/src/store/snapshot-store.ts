/** The port to where snapshots of a projection are kept: pieces that are only ever read together. Never the truth. */

/** What a snapshot is of. */
export interface SnapshotMark {
  /** Everything up to this sequence of the log is in it; what came later may be in it too. */
  readonly sequence: number;
  /** What made it; another maker does not understand it. */
  readonly version: string;
}

/** A snapshot that was read back whole. */
export interface StoredSnapshot extends SnapshotMark {
  readonly pieces: readonly Uint8Array[];
}

/** Snapshots of one projection. Failures are AppErrors of kind `unavailable`. */
export interface SnapshotStore {
  /**
   * The newest snapshot; undefined when there is none, when a part of it is missing or altered, or when it is of
   * another log or of more than this log holds.
   */
  load(): Promise<StoredSnapshot | undefined>;
  /** Keeps a snapshot in place of the older one, which stays until the new one is whole. `superseded` when another
   * process was faster, or `isWorth` says no to what is there. */
  save(
    mark: SnapshotMark,
    pieces: AsyncIterable<Uint8Array>,
    isWorth: (there: SnapshotMark | undefined) => boolean,
  ): Promise<"saved" | "superseded">;
}
