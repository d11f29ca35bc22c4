/** Where contents of files stand: pieces of one size, written once, read and removed by content. */

/** Bytes of a piece; only the last one of a content is smaller. */
export const pieceBytes = 256 * 1024;

/** One content of one workspace. */
export interface ContentName {
  readonly workspaceId: string;
  readonly contentId: string;
}

/** Contents in pieces. Each call throws AppError `unavailable` when the store does not answer. */
export interface ContentStore {
  /** Stores a piece; the same piece twice is fine. */
  put(name: ContentName, piece: number, bytes: Uint8Array): Promise<void>;
  /** Pieces from one on, in order; undefined for one that is not there. */
  read(name: ContentName, from: number, count: number): Promise<(Uint8Array | undefined)[]>;
  /** Removes all pieces. */
  remove(name: ContentName): Promise<void>;
}
