/** The port to where frames are kept. `@manyhands/store-contract` is what every implementation must pass. */
import type { AppendOutcome } from "./append-frame.ts";
import type { StoredFrame } from "./frame-read.ts";
import type { FrameToAppend } from "./frame-to-append.ts";
import type { LogFollower, LogFollowerOptions } from "./log-follow.ts";

/**
 * Frames by session and number. E1: at most one frame is ever stored per session and number, whoever asks how often.
 * E2: an acknowledged frame is read back by every later `readFromLeader`. E3: the tail tells only what was stored.
 * E4: frames of one session are followed in the order of their numbers. E5: a follower that reads on has been told what
 * was stored before, and is told what it skipped at most once. Failures are AppErrors of kind `unavailable`.
 */
export interface EventStore {
  /** Stores the frame unless one exists under its number. */
  append(frame: FrameToAppend, timeoutMs: number): Promise<AppendOutcome>;
  /** Those of the frames that are stored, ascending; may miss the newest on a lagging replica. */
  read(sessionId: string, frames: readonly number[]): Promise<StoredFrame[]>;
  /** One frame as the leader knows it: never stale. */
  readFromLeader(sessionId: string, frame: number, timeoutMs: number): Promise<Uint8Array | undefined>;
  /** True when anything is stored of the session, also only a tombstone. */
  exists(sessionId: string): Promise<boolean>;
  /** Number of the frame stored last, as the leader knows it; undefined when nothing is stored. Never on a hot path. */
  lastFrame(sessionId: string): Promise<number | undefined>;
  /** Removes all frames but the newest `keep`, 1 unless told; answers how many went. */
  purge(sessionId: string, keep?: 0 | 1): Promise<number>;
  /** Calls back with frames of the session right after they are stored; some may be missed. */
  tail(sessionId: string, onFrame: (frame: StoredFrame) => void): Promise<() => void>;
  /** Every frame in the order of storing, history first. */
  follow(options: LogFollowerOptions): Promise<LogFollower>;
  /** True when the store answers, as far as is known. */
  available(): boolean;
  /** Calls back when tails may have missed something. */
  onReconnect(listener: () => void): () => void;
}
