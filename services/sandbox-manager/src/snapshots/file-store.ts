/** Where snapshots are kept: beside the log, so that any manager on any host can make the same files again. */
export type FileStore = {
  /** Keeps bytes under their hash; keeping the same twice is fine. */
  putData(sessionId: string, bytes: Uint8Array): Promise<string>;
  /** Undefined when not all of it is there. */
  readData(sessionId: string, sha256: string, sizeBytes: number): Promise<Uint8Array | undefined>;
  /** Keeps a snapshot's record; the first one under a name stays. */
  putRecord(sessionId: string, snapshotId: string, bytes: Uint8Array): Promise<void>;
  readRecord(sessionId: string, snapshotId: string): Promise<Uint8Array | undefined>;
  /** The session and name of the first of these names that is there; names are unique over all sessions. */
  findFirst(
    snapshotIds: readonly string[],
  ): Promise<{ readonly sessionId: string; readonly snapshotId: string } | undefined>;
  setHead(sessionId: string, handId: string, snapshotId: string): Promise<void>;
  head(sessionId: string, handId: string): Promise<string | undefined>;
  /** Removes everything of a session. */
  forget(sessionId: string): Promise<void>;
};
